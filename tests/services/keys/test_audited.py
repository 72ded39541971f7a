"""What changes keys is on record, by structure: there is no other way for operators to a write."""

from collections.abc import AsyncIterator, Callable, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.errors import StoreError
from gateway.domain.keys.copies import KeyCopy
from gateway.domain.settings import StoreSettings
from gateway.services.audit.acts import Acts
from gateway.services.audit.writer import Audit
from gateway.services.keys.audited import AuditedKeys
from gateway.store.key_reader import KeyReader
from gateway.store.keys import KeyStore
from tests.store.key_records import FIELDS, ID, OTHER_ID, present, secret

# No key changes by the first; the second is what the gateway itself does as keys are used.
NOT_ACTS = {"claim", "write_tag"}

READS: MappingProxyType[str, tuple[Any, ...]] = MappingProxyType(
    {
        "name": (ID,),
        "now": (),
        "get": (ID,),
        "revised": (ID,),
        "last_used": (ID,),
        "removed_at": (ID,),
        "removals": ([ID],),
        "used_since": ([ID], 0),
        "ids": (),
        "read": ([ID],),
        "consumers": ([ID],),
        "known": ([ID],),
        "on_one_connection": (),
        "replicated": ([ID], 1),
    }
)


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


class Full:
    async def append(self, records: Sequence[bytes]) -> None:
        raise StoreError("The disk is full.")


@pytest.fixture
async def unrecorded(client: Redis) -> AuditedKeys:
    acts = Acts(Audit(Full(), audit_keys(MasterKeys((b"m" * 32,)))), "operator:ann")
    return AuditedKeys(client, "gw:", acts, lambda _: pytest.fail("It is no revocation."))


def test_every_write_of_the_store_is_an_act_or_out_of_reach() -> None:
    assert public(AuditedKeys) - NOT_ACTS == public(KeyStore) - NOT_ACTS
    assert not hasattr(AuditedKeys, "write_tag")


@pytest.mark.parametrize("act", sorted(public(KeyStore) - NOT_ACTS))
async def test_an_act_that_cannot_be_recorded_is_not_done(
    keys: KeyStore, unrecorded: AuditedKeys, client: Redis, act: str
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    record = await present(keys)
    attempts: dict[str, Callable[[AuditedKeys], Any]] = {
        "create": lambda to: to.create(OTHER_ID, secret(2), FIELDS),
        "rotate": lambda to: to.rotate(ID, secret(2), 0),
        "set_status": lambda to: to.set_status(ID, "disabled"),
        "update": lambda to: to.update(ID, {"label": "x"}),
        "put": lambda to: to.put(KeyCopy(record), overwrite=True, dry_run=False),
        "copies": lambda to: to.copies([record]),
        "delete": lambda to: to.delete(ID),
    }
    async with unrecorded.on_one_connection() as line:
        for reached in (unrecorded, line):
            with pytest.raises(StoreError, match="was not done, because its audit record"):
                await attempts[act](reached)
    assert await client.keys() == [keys.name(ID)]
    assert await present(keys) == record


@pytest.fixture
async def reader(client: Redis, store: StoreSettings) -> AsyncIterator[KeyReader]:
    """Of a Redis that lets it write nothing."""
    assert store.url
    await client.acl_setuser("reader", enabled=True, reset=True, nopass=True, keys="*")
    await client.execute_command("ACL", "SETUSER", "reader", "+@all", "-@write", "-@scripting")
    one: Redis = Redis.from_url(store.url, username="reader", password="", decode_responses=True)
    yield KeyReader(one, "gw:")
    await one.aclose()
    await client.acl_deluser("reader")


@pytest.mark.parametrize("read", sorted(public(KeyReader)))
async def test_what_reads_may_write_nothing(keys: KeyStore, reader: KeyReader, read: str) -> None:
    await keys.create(ID, secret(1), FIELDS)
    found = getattr(reader, read)(*READS[read])
    if isinstance(found, AsyncIterator):
        assert [one async for one in found]
    elif hasattr(found, "__aenter__"):
        async with found as line:
            assert await line.get(ID) == await keys.get(ID)
    elif hasattr(found, "__await__"):
        await found
