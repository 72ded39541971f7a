"""A vault for tests: real records in a real store, under a key of their own."""

from collections.abc import Callable
from dataclasses import replace

from redis.asyncio import Redis

from gateway.client.sync import Report, Sync
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import Envelope, MasterKeys
from gateway.domain.credentials import Credential, Version, parse_id
from gateway.domain.policies.problems import Place
from gateway.domain.policies.references import Reference
from gateway.domain.policies.snapshot import Mention, Policies
from gateway.services.audit.writer import Audit
from gateway.services.credentials.current import LiveCredentials
from gateway.services.credentials.source import VaultSource
from gateway.store.audit import AuditStore
from gateway.store.vault import VaultNews, VaultStore

MASTER = b"m" * 32


def problem_of(
    credentials: LiveCredentials, reference: Reference, types: tuple[str, ...] = ()
) -> str:
    """Return what is wrong with policies that mention `reference`; empty if nothing is."""
    mention = Mention(Place("policies/a.yaml", 1, 1), reference, types)
    problems = credentials.problems(Policies(mentions=(mention,)))
    return "".join(problem.message for problem in problems)


class Vault:
    """`opened`: every id that was decrypted, in order. `now`, `wall`: the clocks, moved by hand."""

    def __init__(self, client: Redis, *keys: bytes) -> None:
        self.client = client
        self.store = VaultStore(client, "gw:")
        self.envelope = Envelope(MasterKeys(keys or (MASTER,)))
        self.opened: list[str] = []
        self.now = 1000.0
        self.wall = 500.0
        self.reports: list[Report] = []

    async def write(
        self, name: str, number: int = 1, grace: int | None = None, **more: object
    ) -> None:
        """Version `number` of an api key; with `grace` the one before it stays until then."""
        found = parse_id(name)
        current = Version(number, {"value": f"{name}-{number}"})
        previous = None
        if grace is not None:
            previous = Version(number - 1, {"value": f"{name}-{number - 1}"}, until=grace)
        made = replace(Credential(found, "api_key", current, previous), **more)  # type: ignore[arg-type]
        before = await self.store.get(found)
        assert await self.store.put(found, self.envelope.seal(made), before)

    def audit(self) -> Audit:
        """Of a gateway at this vault."""
        return Audit(AuditStore(self.client, "gw:"), audit_keys(self.envelope.keys))

    async def delete(self, name: str, number: int = 1) -> None:
        found = parse_id(name)
        assert await self.store.delete(found, await self.store.get(found) or b"", number)

    def sync(self, poll: float = 15.0, draw: Callable[[float, float], float] | None = None) -> Sync:
        news = VaultNews(self.client, "gw:")
        source = VaultSource(self.store, news, self._counting(), lambda: self.now)
        more = {"draw": draw} if draw else {}
        return Sync(source, poll, self.reports.append, clock=lambda: self.now, **more)

    def value(self, sync: Sync, name: str) -> str:
        return sync.get(parse_id(name)).current.fields["value"]

    def _counting(self) -> Envelope:
        opened, real = self.opened, self.envelope

        class Counting(Envelope):
            def open(self, credential, blob):  # type: ignore[no-untyped-def]
                opened.append(str(credential))
                return real.open(credential, blob)

        return Counting(real.keys)
