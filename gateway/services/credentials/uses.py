"""Who used which credential, from a bounded look back into the audit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.audit.record import read
from gateway.domain.audit.settings import Retention
from gateway.domain.errors import StoreError
from gateway.store.audit import AuditStore

# Newest first. Reading this many takes a fraction of a second, during which other requests have
# their turn.
MOST_LOOKED_AT = 20_000
MOST_USES = 500
READ, REFLECTED = "credential.read", "credential.reflected"
_EVENTS = frozenset({READ, REFLECTED, "credential.use", "tool.call"})


@dataclass(slots=True)
class Use:
    """One credential in the calls of one key to one place. `pulled`: the value itself was handed to
    the holder of the key; `place` is empty then. `versions`: newest first. `count`: calls;
    `reflected`: answers that it was removed from. `first` and `last` in Unix seconds."""

    credential: str
    key_id: str
    consumer: str
    place: str
    pulled: bool
    versions: list[int]
    first: float
    last: float
    count: int = 0
    reflected: int = 0


@dataclass(frozen=True, slots=True)
class Uses:
    """`whole`: nothing of the requested period was left out. `problem`: why the audit could not be
    read; uses may be missing then."""

    uses: tuple[Use, ...]
    whole: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reflected:
    """How often a server sent a credential back, by place; `whole`, `problem`: as in `Uses`."""

    by_place: Mapping[str, int]
    whole: bool
    problem: str = ""


class LookBack:
    """`retention`: what the stream keeps, from which the result tells what may be missing."""

    def __init__(self, store: AuditStore, retention: Retention) -> None:
        self._store = store
        self._retention = retention

    async def uses(self, since: float, *, credential: str = "", key_id: str = "") -> Uses:
        """Return the uses of this credential, or by this key; the most recent ones come first."""
        found: dict[tuple[str, str, str], Use] = {}

        def look(text: str) -> bool:
            # Most records are about something else, and parsing costs more than this search.
            if (credential or key_id) in text:
                _count(found, read(text) or {}, credential, key_id)
            return len(found) < MOST_USES

        whole, problem = await self._back_to(since, look)
        return Uses(tuple(found.values()), whole, problem)

    async def reflections(self, since: float) -> Reflected:
        counted: Counter[str] = Counter()

        def look(text: str) -> bool:
            if REFLECTED in text and (record := read(text) or {}).get("event") == REFLECTED:
                counted[str(record.get("agent"))] += 1
            return True

        whole, problem = await self._back_to(since, look)
        return Reflected(counted, whole, problem)

    async def _back_to(self, since: float, look: Callable[[str], bool]) -> tuple[bool, str]:
        """Call `look`, which returns whether it takes another record, with each record from the
        newest back to `since`. Return whether it saw all of them, and what was in the way."""
        looked_at = 0
        try:
            async for entry, text in self._store.read_back():
                if int(entry.partition("-")[0]) < since * 1000:
                    return True, ""
                if looked_at == MOST_LOOKED_AT or not look(text):
                    return False, ""
                looked_at += 1
            return await self._store.gone_before(self._retention) <= since, ""
        except StoreError as problem:
            return False, str(problem)


def _count(
    found: dict[tuple[str, str, str], Use],
    record: dict[str, Any],
    credential: str,
    key_id: str,
) -> None:
    event, by, place = record.get("event"), record.get("key_id"), str(record.get("agent"))
    if event not in _EVENTS or (key_id and by != key_id):
        return
    ts = record.get("ts")
    for name, version in _named(record):
        if (credential and name != credential) or not isinstance(ts, int | float):
            continue
        use = found.get((name, str(by), place))
        if use is None:
            consumer, pulled = str(record.get("consumer")), event == READ
            use = Use(name, str(by), consumer, place, pulled, [], ts, ts)
            found[name, str(by), place] = use
        use.first = min(use.first, ts)
        if version not in use.versions:
            use.versions.append(version)
        if event == REFLECTED:
            use.reflected += 1
        else:
            use.count += 1


def _named(record: dict[str, Any]) -> list[tuple[str, int]]:
    """Return names and versions; skip entries that the gateway did not write."""
    used = record.get("credentials")
    dicts = [one for one in used if isinstance(one, dict)] if isinstance(used, list) else []
    pairs = [(one.get("name"), one.get("version")) for one in dicts]
    return [(n, v) for n, v in pairs if isinstance(n, str) and isinstance(v, int)]
