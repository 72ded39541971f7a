"""What is wrong with a fleet, in sentences that say what to do."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from redis.asyncio import Redis

from gateway.domain.errors import OperationError, StoreError
from gateway.domain.workers import WorkerRecord
from gateway.services.vault import CredentialView, State
from gateway.store.health import StoreHealth, hashless, health
from gateway.store.workers import WorkerStore

# Every request waits for one round trip.
SLOW_SECONDS = 0.01
# Keys expire by Redis' clock, and people set them by theirs.
CLOCK_SECONDS = 2.0
NAMED = 5

_ADVICE = (
    (
        State.BROKEN,
        True,
        ("cannot be opened", "look with 'gateway credentials show', and set them anew."),
    ),
    (
        State.EXPIRED,
        True,
        ("expired, and used all the same", "get new ones, and 'gateway credentials rotate'."),
    ),
    (
        State.EXPIRING,
        False,
        ("will expire within 14 days", "get new ones, and 'gateway credentials rotate'."),
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about `topic`: redis, workers, keys or vault."""

    topic: str
    wrong: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    workers: tuple[WorkerRecord, ...] = ()
    hashless: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        return not any(finding.wrong for finding in self.findings)


async def diagnose(client: Redis, prefix: str, clock: Callable[[], float] = time.time) -> Diagnosis:
    """Looks, and changes nothing. `clock`: this machine's."""
    try:
        redis = await health(client, clock)
        workers = await WorkerStore(client, prefix).all()
        orphans = await hashless(client, prefix)
    except (StoreError, OperationError) as problem:
        return Diagnosis((Finding("redis", True, _with_advice(problem)),))
    nodes = (_at(node.node, finding) for node in redis for finding in _redis(node))
    findings = (*nodes, *_workers(workers), *_keys(orphans))
    return Diagnosis(findings, tuple(workers), tuple(orphans))


def _with_advice(problem: Exception) -> str:
    if isinstance(problem, OperationError):
        return str(problem)
    return f"{problem} Check --redis or GATEWAY_REDIS_URL, and that Redis runs."


def _at(address: str, finding: Finding) -> Finding:
    sentence = f"{address}: {finding.sentence}" if address else finding.sentence
    return replace(finding, sentence=sentence)


def _redis(redis: StoreHealth) -> Iterator[Finding]:
    kept = "append-only file" if redis.append_only else "no append-only file"
    yield Finding(
        "redis",
        False,
        f"{redis.server} answers: {redis.latency * 1000:.1f} ms a round trip, {kept}, "
        f"maxmemory-policy {redis.eviction}.",
    )
    for warning in redis.warnings:
        yield Finding("redis", True, warning)
    if redis.is_replica:
        sentence = "This Redis is a replica and takes no writes: give the address of its primary."
        yield Finding("redis", True, sentence)
    if redis.latency > SLOW_SECONDS:
        yield Finding(
            "redis",
            True,
            f"A round trip to Redis takes {redis.latency * 1000:.0f} ms, and every request waits "
            "for one: bring it nearer, or look for what keeps it busy with SLOWLOG GET.",
        )
    if abs(redis.clock_ahead) > CLOCK_SECONDS:
        how = "ahead of" if redis.clock_ahead > 0 else "behind"
        yield Finding(
            "redis",
            True,
            f"Redis' clock is {abs(redis.clock_ahead):.0f} s {how} this machine's, and keys expire "
            "by it: let both follow the same time server.",
        )


def _workers(workers: list[WorkerRecord]) -> Iterator[Finding]:
    if not workers:
        sentence = "No worker has been heard of: start one with 'gateway serve'."
        yield Finding("workers", False, sentence)
        return
    hosts = len({worker.host for worker in workers})
    versions = Counter(worker.version for worker in workers)
    heard = f"{_counted(len(workers), 'worker')} on {_counted(hosts, 'host')} can be heard"
    yield Finding("workers", False, f"{heard}: version {', '.join(sorted(versions))}.")
    if len(versions) > 1:
        yield Finding(
            "workers",
            True,
            f"The workers run different versions ({_shares(versions)}): bring all hosts to one, "
            "and send SIGUSR2 to each 'gateway serve'.",
        )
    revisions = Counter(worker.revision for worker in workers)
    if len(revisions) > 1:
        yield Finding(
            "workers",
            True,
            f"The workers have different policies in force ({_shares(revisions)}): compare the "
            "files of the hosts, and look for policies_refused in their logs.",
        )


def _keys(orphans: list[str]) -> Iterator[Finding]:
    if not orphans:
        yield Finding("keys", False, "Every record of a key has its hash.")
        return
    more = f" and {len(orphans) - NAMED} more" if len(orphans) > NAMED else ""
    yield Finding(
        "keys",
        True,
        f"{_counted(len(orphans), 'record')} without a hash, no key's ({', '.join(orphans[:NAMED])}"
        f"{more}): look for the id that was meant with 'gateway keys list', then DEL them.",
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _shares(counts: Counter[str]) -> str:
    return ", ".join(_share(counts.most_common()))


def _share(counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    for value, count in counts:
        yield f"{value or 'none'}: {count}"


def credentials_found(views: Iterable[CredentialView]) -> tuple[Finding, ...]:
    """What is to be said of the vault; nothing where it is empty."""
    by_state: dict[State, list[str]] = {}
    for view in views:
        by_state.setdefault(view.state, []).append(view.name)
    if not by_state:
        return ()
    count = sum(map(len, by_state.values()))
    found = [Finding("vault", False, f"{_counted(count, 'credential')} in the vault.")]
    for state, wrong, advice in _ADVICE:
        names = by_state.get(state, [])
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            sentence = f"{_counted(len(names), 'credential')} {advice[0]} "
            sentence += f"({', '.join(names[:NAMED])}{more}): {advice[1]}"
            found.append(Finding("vault", wrong, sentence))
    return tuple(found)
