"""Where audit records go: the stream `gw:audit`, one record an entry, as JSON in the field
`record`; and a file, one record a line."""

import errno
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.domain.errors import StoreError
from gateway.store.failures import translated

BATCH = 500
FIELD = "record"
# The stream's length, give or take; the oldest records are dropped first.
MOST_RECORDS = 200_000
OWNER_ONLY = 0o600


class AuditStore:
    """Every method raises StoreError where Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str = "gw:") -> None:
        self._client = client
        self._name = f"{prefix}audit"

    async def append(self, records: Sequence[str]) -> None:
        """All of these, in this order, or none."""
        add = ("XADD", self._name, "MAXLEN", "~", MOST_RECORDS, "*", FIELD)
        if len(records) == 1:
            with translated():
                await self._client.execute_command(*add, records[0])
            return
        pipeline = self._client.pipeline(transaction=True)
        for record in records:
            pipeline.execute_command(*add, record)
        with translated():
            await pipeline.execute()

    async def length(self) -> int:
        with translated():
            return int(await self._client.xlen(self._name))

    async def read_back(self, before: str = "") -> AsyncIterator[tuple[str, str]]:
        """Entry ids and records from the newest (or from what is behind `before`) on backwards."""
        end = f"({before}" if before else "+"
        while True:
            words = ("XREVRANGE", self._name, end, "-", "COUNT", BATCH)
            with translated():
                entries = await self._client.execute_command(*words, **{NEVER_DECODE: True})
            for entry_id, fields in entries or ():
                yield entry_id.decode(), _record(fields)
                end = f"({entry_id.decode()}"
            if not entries or len(entries) < BATCH:
                return

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


class AuditFile:
    """Lines are on disk before `append` returns. A file that was rotated away is made anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @staticmethod
    def at(path: Path | None) -> "AuditFile | None":
        return None if path is None else AuditFile(path)

    def append(self, records: Sequence[str]) -> None:
        """StoreError where they cannot be written whole."""
        data = "".join(f"{record}\n" for record in records).encode()
        try:
            # A pipe that nobody reads must fail, and not wait.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, OWNER_ONLY)
            try:
                written = os.write(descriptor, data)
                if written < len(data):
                    raise StoreError(f"{self._path}: only a part of a record could be written.")
                _to_disk(descriptor)
            finally:
                os.close(descriptor)
        except OSError as problem:
            raise StoreError(f"{self._path} cannot be written: {problem.strerror}.") from None

    def read(self) -> Iterator[tuple[str, str]]:
        """Line numbers and records; StoreError where it cannot be read."""
        try:
            with self._path.open(encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    yield f"line {number}", line.rstrip("\n")
        except OSError as problem:
            raise StoreError(f"{self._path} cannot be read: {problem.strerror}.") from None


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as problem:
        # A pipe or a device keeps nothing, so there is nothing to wait for.
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
