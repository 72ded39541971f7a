"""One access log line per request, as JSON or for people. Written in batches by a thread."""

import asyncio
import os
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gateway.domain.traffic import Handled
from gateway.log import log
from gateway.services.telemetry.access_lines import as_line_for_people, as_line_of_json
from gateway.tasks import cancel_and_wait, unending

FLUSH_SECONDS = 0.05
STUCK_SECONDS = 1.0
MAX_WAITING = 50_000
# A pipe takes this much as a whole, beside other workers that write into it (POSIX: PIPE_BUF).
PIPE_BYTES = 4096


class AccessLog:
    """Lines go to `path`, or to stdout if it is None.

    The file is opened for each batch, so one that was rotated away is created anew. If the disk or
    the reader cannot keep up, lines are dropped and counted in the log: callers never wait for log
    lines.
    """

    def __init__(self, path: Path | None, *, as_json: bool) -> None:
        self._path = path
        self._format = as_line_of_json if as_json else as_line_for_people
        self._waiting: list[bytes] = []
        self._rest: list[bytes] = []
        # Of a line whose beginning may be written, as on a full disk: without it, the next line
        # would be a part of this one.
        self._begun = b""
        self._dropped = 0
        self._turn = asyncio.Lock()
        self._writing = unending(self._write_on)

    def add(self, batch: Sequence[Handled]) -> None:
        taken = batch[: max(0, MAX_WAITING - len(self._waiting))]
        # Formatted here, a few at a time: a thread that formats thousands would hold the
        # interpreter lock.
        self._waiting += map(self._format, taken)
        self._dropped += len(batch) - len(taken)

    async def close(self) -> None:
        """Write the remaining lines, as far as they are accepted now."""
        await cancel_and_wait(self._writing)
        await self._flush()
        if lost := self._unwritten() + len(self._waiting) + bool(self._begun):
            log.warning("access_lines_dropped", count=lost)

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.shield(self._flush())

    async def _flush(self) -> None:
        async with self._turn:
            batch: list[bytes] = []
            if not self._rest:
                batch, self._waiting = self._waiting, []
            if not (batch or self._rest):
                return
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as problem:
                self._give_up()
                log.warning("access_log_failed", reason=problem.strerror or "it cannot be written")
            if self._dropped:
                log.warning("access_lines_dropped", count=self._dropped)
                self._dropped = 0

    def _give_up(self) -> None:
        """Drop what could not be written, except for the rest of its first line."""
        if self._rest:
            first, end, _ = self._rest[0].partition(b"\n")
            self._begun = first + end
            self._dropped += self._unwritten() - 1
            self._rest = []

    def _unwritten(self) -> int:
        return sum(piece.count(b"\n") for piece in self._rest)

    def _write(self, batch: list[bytes]) -> None:
        self._rest += pieces([self._begun, *batch], PIPE_BYTES)
        self._begun = b""
        if self._path is None:
            _write_out(sys.stdout.fileno(), self._rest)
            return
        # O_NONBLOCK, because opening a pipe without a reader would wait for one. Readable by the
        # group for log shippers: a tool that is a program has a user and a group of its own.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o640)
        try:
            _write_out(descriptor, self._rest)
        finally:
            os.close(descriptor)


def _write_out(descriptor: int, waiting: list[bytes]) -> None:
    """Write as much as is accepted without a long wait, and leave the rest in `waiting`.

    A reader that has stopped must hold up neither the end of the gateway nor its memory.
    """
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    while waiting and ready.poll(STUCK_SECONDS * 1000):
        taken = os.write(descriptor, waiting[0])
        if taken < len(waiting[0]):
            waiting[0] = waiting[0][taken:]
            return
        del waiting[0]


def pieces(lines: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Join whole lines into pieces of at most `most` bytes; a longer line is a piece by itself."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > most:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
