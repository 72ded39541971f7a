"""What is wrong with Redis and the workers on it, in sentences that say what to do."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from gateway.domain.errors import OperationError, StoreError, UnreachableError
from gateway.domain.workers import WorkerRecord
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.diagnosis.fleet import records_found, records_unseen, workers_found
from gateway.services.diagnosis.redis import redis_found
from gateway.store.health import hashless, health
from gateway.store.workers import WorkerStore


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`answered`: whether Redis could be asked."""

    findings: tuple[Finding, ...]
    workers: tuple[WorkerRecord, ...] = ()
    hashless: tuple[str, ...] = ()
    answered: bool = True

    @property
    def well(self) -> bool:
        return not any(finding.wrong for finding in self.findings)


async def diagnose(client: Redis, prefix: str, clock: Callable[[], float] = time.time) -> Diagnosis:
    """Diagnose without changing anything. `clock`: this machine's."""
    try:
        nodes = await health(client, clock)
        workers = await WorkerStore(client, prefix).all()
        records, nobodys = await _records(client, prefix)
    except (StoreError, OperationError) as problem:
        finding = Finding("redis", Level.WRONG, _with_advice(problem))
        return Diagnosis((finding,), answered=False)
    findings = (*redis_found(nodes), *workers_found(workers), records)
    return Diagnosis(findings, tuple(workers), nobodys)


async def _records(client: Redis, prefix: str) -> tuple[Finding, tuple[str, ...]]:
    try:
        nobodys = tuple(await hashless(client, prefix))
    except UnreachableError:
        raise
    except StoreError as problem:
        return records_unseen(str(problem)), ()
    return records_found(nobodys), nobodys


def _with_advice(problem: Exception) -> str:
    if isinstance(problem, OperationError):
        return str(problem)
    return f"{problem} Check --redis or GATEWAY_REDIS_URL, and that Redis runs."
