"""The audit stream in Redis: `gw:audit`, one record an entry, as JSON in the field `record`."""

from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.failures import translated

BATCH = 500
FIELD = "record"


class AuditStore:
    """Every method raises StoreError where Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str = "gw:") -> None:
        self._client = client
        self._name = f"{prefix}audit"

    async def append(self, records: Sequence[str]) -> None:
        """All of these, in this order, or none."""
        pipeline = self._client.pipeline(transaction=True)
        for record in records:
            pipeline.execute_command("XADD", self._name, "*", FIELD, record)
        with translated():
            await pipeline.execute()

    async def length(self) -> int:
        with translated():
            return int(await self._client.xlen(self._name))

    async def read(self, after: str = "-") -> AsyncIterator[tuple[str, str]]:
        """Entry ids and records from `after` (exclusive; `-`: the first) on, in order."""
        start = after
        while True:
            words = ("XRANGE", self._name, start, "+", "COUNT", BATCH)
            with translated():
                entries = await self._client.execute_command(*words, **{NEVER_DECODE: True})
            for entry_id, fields in entries or ():
                yield entry_id.decode(), _record(fields)
                start = f"({entry_id.decode()}"
            if not entries or len(entries) < BATCH:
                return


def _record(fields: object) -> str:
    """The record in an entry; empty where it is another's."""
    pairs = fields if isinstance(fields, dict) else {}
    if isinstance(fields, list):
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    value = pairs.get(FIELD.encode(), b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
