"""The dependencies of the admin API's handlers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis

from gateway.admin.fields import FieldContext
from gateway.crypto.tags import Peppers
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.protocol.policy.read import Loaded
from gateway.services.admission.explain import Explainer
from gateway.services.admission.own_places import PowersAt
from gateway.services.audit.acts import Acts
from gateway.services.audit.readers import AuditReaders
from gateway.services.audit.verify import AuditVerifier
from gateway.services.audit.writer import Audit
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.links import Links
from gateway.services.credentials.uses import LookBack
from gateway.services.credentials.vault import Vault
from gateway.services.keys.audited import AuditedKeys
from gateway.services.telemetry.log_level import LogLevel
from gateway.services.tools.open_programs import Programs
from gateway.store.admission import Admission
from gateway.store.audit import AuditStore
from gateway.store.key_reader import KeyReader
from gateway.store.usage import UsageStore
from gateway.store.workers import WorkerStore


class Reloadable(Protocol):
    """The policies in force. `problems`: why the files on disk are not."""

    @property
    def current(self) -> Policies: ...

    @property
    def problems(self) -> tuple[Problem, ...]: ...

    async def candidate(self) -> Loaded: ...

    async def reload(self, reason: str) -> Loaded: ...


@dataclass(slots=True, kw_only=True)
class Backend:
    """`live`: the source of the policies. `clock`: Unix seconds. `url`: where users reach the data
    listener."""

    client: Redis
    prefix: str
    peppers: Peppers
    live: Reloadable
    admission: Admission
    audit: Audit
    audit_store: AuditStore
    audit_readers: AuditReaders
    audit_verifier: AuditVerifier
    look_back: LookBack
    credentials: LiveCredentials
    vault_for: Callable[[str], Vault]
    links: Links
    url: Callable[[], str]
    usage: UsageStore
    workers: WorkerStore
    ready: Callable[[], Awaitable[tuple[str, ...]]]
    clock: Callable[[], float]
    powers_at: PowersAt
    log_level: LogLevel
    programs: Programs

    def policies(self) -> Policies:
        return self.live.current

    async def field_context(self) -> FieldContext:
        """Return what the fields of a body are checked against; StoreError if Redis does not
        answer."""
        return FieldContext(self.policies().plans, await self.key_reader().now())

    def acts(self, actor: str) -> Acts:
        return Acts(self.audit, actor)

    def key_reader(self) -> KeyReader:
        return KeyReader(self.client, self.prefix)

    def keys(self, actor: str, on_unrecorded: Callable[[str], object]) -> AuditedKeys:
        return AuditedKeys(self.client, self.prefix, self.acts(actor), on_unrecorded)

    def explainer(self) -> Explainer:
        keys, check = self.key_reader(), self.credentials.check_usable
        return Explainer(self.policies(), keys, self.admission, self.powers_at, check)
