"""Heartbeats in Redis: `gw:worker:<host>:<pid>`, which expire unless they are renewed."""

from collections.abc import Sequence
from dataclasses import asdict, fields

from redis.asyncio import Redis

from gateway.domain.workers import WorkerRecord
from gateway.store.commands import ask_all, number_or_none, run, value_or_none
from gateway.store.connections.failures import translated
from gateway.store.connections.scan import scan

TTL_SECONDS = 15
FIELDS = tuple(field.name for field in fields(WorkerRecord))


class WorkerStore:
    """Every method raises StoreError if Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def write(self, worker: WorkerRecord) -> None:
        """Announce the worker for the next TTL_SECONDS."""
        pairs = [str(word) for pair in asdict(worker).items() for word in pair]
        await run(self._client, "set_for", [self._name(worker)], [str(TTL_SECONDS), *pairs])

    async def remove(self, worker: WorkerRecord) -> None:
        with translated():
            await self._client.delete(self._name(worker))

    async def all(self) -> list[WorkerRecord]:
        """Return the workers with a recent heartbeat, by host and pid."""
        found: dict[bytes, WorkerRecord] = {}
        async for names in scan(self._client, f"{self._prefix}worker:*"):
            answers = await ask_all(self._client, [("HMGET", name, *FIELDS) for name in names])
            for name, values in zip(names, map(value_or_none, answers), strict=True):
                if values and any(values):
                    found[name] = _record(values)
        return sorted(found.values(), key=lambda worker: (worker.host, worker.pid))

    def _name(self, worker: WorkerRecord) -> str:
        return f"{self._prefix}worker:{worker.host}:{worker.pid}"


def _record(values: Sequence[bytes | None]) -> WorkerRecord:
    found = dict(zip(FIELDS, values, strict=True))
    texts = {name: (value or b"").decode(errors="replace") for name, value in found.items()}
    return WorkerRecord(
        host=texts["host"],
        pid=number_or_none(found["pid"]) or 0,
        version=texts["version"],
        started_at=number_or_none(found["started_at"]) or 0,
        revision=texts["revision"],
        listen=texts["listen"],
    )
