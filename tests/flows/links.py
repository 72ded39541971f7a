"""Links by which users bring their credentials, and what they open."""

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.keys.key import Key
from gateway.domain.links import read_requested
from gateway.services.audit.acts import Acts
from gateway.services.audit.writer import Audit
from gateway.services.credentials.links import Links
from gateway.store.audit import AuditStore
from gateway.store.links import LinkStore
from tests.flows.world import MASTER, Answer, World

SERVICE = """version: 1
services:
  crm:
    upstream: {url}
    inject: {{headers: {{X-Token: "${{user.crm.value}}"}}}}
"""


async def new_link(world: World, wanted: str = "crm", user: str = "ann") -> str:
    links = Links(LinkStore(world.client, world.store.prefix))
    audit = Audit(AuditStore(world.client, "gw:"), audit_keys(MasterKeys((MASTER,))))
    made = await links.make(user, read_requested(wanted), Acts(audit, "operator:test"))
    await audit.close()
    return f"/connect/{made.token}"


async def called(world: World, key: Key, user: str = "ann", gateway: int = 0) -> Answer:
    return await world.call(key, "/services/crm/x", headers={"X-User-Id": user}, gateway=gateway)
