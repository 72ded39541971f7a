"""The stream `gw:audit`: one record per entry, as JSON in the field `record`."""

from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis

from gateway.domain.audit.settings import Retention
from gateway.store.commands import BATCH, command, redis_now
from gateway.store.connections.failures import translated

FIELD = "record"


class Trimming:
    """How each write trims the oldest records. One command trims either by number or by age, so the
    two take turns."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._newest = 0
        self._by_age = False

    def words(self) -> tuple[str, str, int]:
        """Return the trimming arguments of the next XADD."""
        retention = self._retention
        self._by_age = not self._by_age and retention.seconds > 0 and self._newest > 0
        if self._by_age:
            return "MINID", "~", max(0, self._newest - round(retention.seconds * 1000))
        return "MAXLEN", "~", retention.records

    def wrote(self, entry_id: bytes | str) -> None:
        """Note the id of the last entry. Ages follow the stream's ids, which are by Redis' clock: a
        worker whose own clock is wrong must not drop recent records."""
        text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
        self._newest = int(text.partition("-")[0])


class AuditStore:
    """Every method raises StoreError if Redis cannot answer. `retention` None: no trimming."""

    def __init__(self, client: Redis, prefix: str, retention: Retention | None = None) -> None:
        self._client = client
        self._name = f"{prefix}audit"
        self._trimming = Trimming(retention) if retention is not None else None

    async def append(self, records: Sequence[bytes]) -> None:
        """Append all of these in this order, or none."""
        add = ("XADD", self._name, *(self._trimming.words() if self._trimming else ()), "*", FIELD)
        if len(records) == 1:
            with translated():
                entry_id = await self._client.execute_command(*add, records[0])
        else:
            pipeline = self._client.pipeline(transaction=True)
            for record in records:
                pipeline.execute_command(*add, record)
            with translated():
                *_, entry_id = await pipeline.execute()
        if self._trimming is not None:
            self._trimming.wrote(entry_id)

    async def gone_before(self, retention: Retention) -> float:
        """Return the instant before which records may have been trimmed, by Redis' clock."""
        return retention.gone_before(await self.length(), await redis_now(self._client))

    async def newest(self) -> str:
        """Return the id of the newest entry; empty if there is none."""
        entries = await command(self._client, "XREVRANGE", self._name, "+", "-", "COUNT", 1)
        return str(entries[0][0].decode()) if entries else ""

    async def length(self) -> int:
        with translated():
            return int(await self._client.xlen(self._name))

    def read_back(self, before: str = "") -> AsyncIterator[tuple[str, str]]:
        """Yield entry ids and records backwards, from the newest or from before `before`."""
        return self._walk("XREVRANGE", f"({before}" if before else "+", "-")

    def read(self, start: str = "-", end: str = "+") -> AsyncIterator[tuple[str, str]]:
        """Yield entry ids and records in order: from `-` (the first), ID, or `(ID` (after it), to
        `+` (the last), ID, or `(ID` (before it)."""
        return self._walk("XRANGE", start, end)

    async def _walk(self, verb: str, start: str, end: str) -> AsyncIterator[tuple[str, str]]:
        while True:
            words = (verb, self._name, start, end, "COUNT", BATCH)
            entries = await command(self._client, *words)
            for entry_id, fields in entries or ():
                yield entry_id.decode(), _record(fields)
                start = f"({entry_id.decode()}"
            if not entries or len(entries) < BATCH:
                return


def at(second: int) -> str:
    """Return the id of the first entry that may be written in this Unix second."""
    return f"{second}000-0"


def before(second: int) -> str:
    """Return the end of a range of entries that were written before this Unix second."""
    # Redis has no range that ends before its first id.
    return f"({at(max(1, second))}"


def _record(fields: object) -> str:
    """Return the record in an entry; empty if somebody else wrote the entry."""
    pairs = fields if isinstance(fields, dict) else {}
    if isinstance(fields, list):
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    value = pairs.get(FIELD.encode(), b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
