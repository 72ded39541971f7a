"""The workers: whether they agree with each other. And records that belong to no key."""

from collections import Counter
from collections.abc import Iterator, Sequence

from gateway.domain.units import counted
from gateway.domain.workers import WorkerRecord
from gateway.services.diagnosis.findings import Finding, Level, some


def workers_found(workers: list[WorkerRecord]) -> Iterator[Finding]:
    if not workers:
        sentence = "No worker has been heard of: start one with 'gateway serve'."
        yield Finding("workers", Level.OK, sentence)
        return
    hosts = len({worker.host for worker in workers})
    versions = Counter(worker.version for worker in workers)
    heard = f"{counted(len(workers), 'worker')} on {counted(hosts, 'host')} can be heard"
    yield Finding("workers", Level.OK, f"{heard}: version {', '.join(sorted(versions))}.")
    if len(versions) > 1:
        yield Finding(
            "workers",
            Level.WRONG,
            f"The workers run different versions ({_shares(versions)}): bring all hosts to one, "
            "and send SIGUSR2 to each 'gateway serve' that has workers, or restart it.",
        )
    revisions = Counter(worker.revision for worker in workers)
    if len(revisions) > 1:
        yield Finding(
            "workers",
            Level.WRONG,
            f"The workers have different policies in force ({_shares(revisions)}): compare the "
            "files of the hosts, and look for policies_refused in their logs.",
        )


def records_found(hashless: Sequence[str]) -> Finding:
    if not hashless:
        return Finding("keys", Level.OK, "Every record of a key has its hash.")
    return Finding(
        "keys",
        Level.WRONG,
        f"{counted(len(hashless), 'record')} without a hash, no key's ({some(hashless)}): look for "
        "the id that was meant with 'gateway keys list', then DEL them.",
    )


def records_unseen(reason: str) -> Finding:
    advice = "give --redis with a login that may read them, such as 'viewer' or 'operator'."
    return Finding(
        "keys", Level.WARN, f"The records of keys were not looked at ({reason}): {advice}"
    )


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{value or 'none'}: {count}" for value, count in counts.most_common())
