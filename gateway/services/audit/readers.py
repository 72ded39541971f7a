"""Reading the audit stream for operators: searching, following and exporting."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from gateway.domain.audit.filters import Filters, Record, matching
from gateway.domain.errors import OperationError, StoreError
from gateway.store.audit import AuditStore, at, before
from gateway.store.commands import BATCH

# Records of one search, newest first; the next search continues behind them.
MOST_LOOKED_AT = 10_000
# Tails and exports at once, in one process.
MOST_READERS = 16
POLL_SECONDS = 0.5
# How soon a reader whose key was revoked is disconnected.
CHECK_SECONDS = 1.0
# Proxies between the gateway and a reader give up on longer silences.
PING_SECONDS = 15.0
_PING = b": alive\n\n"

# Whether the reader may still read.
MayRead = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Found:
    """Newest first. `next`: the `before` of the next search; None: there is no more. `newest`: the
    entry that the search began with, empty if there was none."""

    records: tuple[Record, ...]
    next: str | None
    newest: str


async def search(store: AuditStore, filters: Filters, before: str, limit: int) -> Found:
    """Return at most `limit` records that pass the filters, among the next MOST_LOOKED_AT."""
    found: list[Record] = []
    looked_at, last, newest = 0, before, ""
    async for entry, text in store.read_back(before):
        if looked_at == MOST_LOOKED_AT or len(found) == limit:
            return Found(tuple(found), last, newest)
        looked_at, last, newest = looked_at + 1, entry, newest or entry
        record = matching(text, filters)
        if record is not None:
            found.append(record)
    return Found(tuple(found), None, newest)


class AuditReaders:
    """At most MOST_READERS that follow or export. `draining`: whether the process is ending."""

    def __init__(self, store: AuditStore, draining: Callable[[], Awaitable[bool]]) -> None:
        self._store = store
        self._draining = draining
        self._open = 0
        self._loop = asyncio.get_running_loop()

    async def follow(
        self, filters: Filters, after: str, may_read: MayRead
    ) -> AsyncGenerator[bytes, None]:
        """Return server-sent events of what is written after the entry `after` (empty: from now
        on), until `may_read` says no or the process ends. OperationError if there are too many
        readers, StoreError if the stream cannot be read."""
        start = after or await self._newest()
        self._check_room()
        return self._followed(filters, start, may_read)

    async def export(
        self, filters: Filters, since: int, until: int | None, may_read: MayRead
    ) -> AsyncGenerator[bytes, None]:
        """Return lines of what was written from the Unix second `since` on and before `until`
        (None: until now); cut off if `may_read` says no. Errors as for `follow`."""
        last = await self._newest()
        self._check_room()
        records = self._store.read(at(since), last if until is None else before(until))
        return self._exported(filters, records, may_read)

    async def _newest(self) -> str:
        return await self._store.newest() or "0-0"

    def _check_room(self) -> None:
        if self._open >= MOST_READERS:
            raise OperationError(f"{MOST_READERS} read the audit here already: wait for an end.")

    async def _followed(
        self, filters: Filters, last: str, may_read: MayRead
    ) -> AsyncGenerator[bytes, None]:
        self._check_room()
        self._open += 1
        try:
            # This tells a reader that it is connected while nothing happens.
            yield _PING
            spoken = checked = self._loop.time()
            while True:
                async for entry, text in self._store.read(f"({last}"):
                    last = entry
                    if matching(text, filters) is not None:
                        spoken = self._loop.time()
                        yield b"id: %b\ndata: %b\n\n" % (entry.encode(), _one_line(text))
                    if self._loop.time() - checked >= CHECK_SECONDS:
                        break
                now = self._loop.time()
                if now - checked >= CHECK_SECONDS:
                    checked = now
                    if not await may_read() or await self._draining():
                        return
                if now - spoken >= PING_SECONDS:
                    spoken = now
                    yield _PING
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._open -= 1

    async def _exported(
        self, filters: Filters, records: AsyncIterator[tuple[str, str]], may_read: MayRead
    ) -> AsyncGenerator[bytes, None]:
        self._check_room()
        self._open += 1
        lines: list[bytes] = []
        checked = self._loop.time()
        try:
            async for _, text in records:
                if matching(text, filters) is not None:
                    lines.append(_one_line(text) + b"\n")
                if len(lines) == BATCH:
                    yield b"".join(lines)
                    lines = []
                if self._loop.time() - checked >= CHECK_SECONDS:
                    checked = self._loop.time()
                    if not await may_read():
                        raise StoreError("The key was closed.")
            yield b"".join(lines)
        finally:
            self._open -= 1


def _one_line(text: str) -> bytes:
    """Return the record on one line: a record written by hand may span several."""
    return text.replace("\r", " ").replace("\n", " ").encode()
