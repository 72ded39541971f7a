"""One live connection to Redis, read with hiredis: replies are matched to commands in order.

redis-py opens it (TLS, AUTH, unix sockets), then its transport is taken over. Commands of one loop
turn are written together.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis.asyncio import Connection

from gateway.domain.errors import StoreError
from gateway.store.connections.failures import without_arguments
from gateway.timers import Timer

MAX_WAITING = 10_000


class ReplyError(StoreError):
    """Redis replied with an error; `kind` is its first word, such as NOSCRIPT or OOM.

    `deadline`: by the loop's clock, until when the caller is willing to wait.
    """

    def __init__(self, text: str, deadline: float = float("inf")) -> None:
        super().__init__(without_arguments(text))
        self.kind = text.partition(" ")[0]
        self.deadline = deadline


class Line(asyncio.Protocol):
    """The commands that were sent on a connection and not yet answered, in order. `was_late`: the
    connection was dropped because a reply took too long."""

    def __init__(self, writer: asyncio.StreamWriter, loop: asyncio.AbstractEventLoop) -> None:
        # Kept, because a StreamWriter closes its transport when it is garbage-collected.
        self._writer = writer
        self._loop = loop
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._watch: Timer | None = None
        self.alive = True
        self.was_late = False
        self.on_lost: Callable[[], object] = lambda: None
        self._transport = cast(asyncio.Transport, writer.transport)
        self._transport.set_protocol(self)

    def send(self, command: bytes, future: asyncio.Future[Any], deadline: float) -> None:
        """Send a command. At `deadline` the call ends in StoreError; it must not be before that of
        an earlier call."""
        if not self.alive or len(self._pending) >= MAX_WAITING:
            fail(future, "Redis does not keep up.")
            return
        self._pending.append((deadline, future))
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(command)
        if self._watch is None:
            self._watch = Timer(self._loop, deadline, self._check)

    def drop(self, reason: str) -> None:
        """Close; every call in progress ends in StoreError, because it may or may not have run."""
        if not self.alive:
            return
        self.alive = False
        self.unwatch()
        self._transport.abort()
        for _, future in self._pending:
            fail(future, reason)
        self._pending.clear()
        self._outgoing.clear()
        self.on_lost()

    def unwatch(self) -> None:
        """Stop the timer while nothing is in progress: the next call may have an earlier deadline
        than the last had."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def flush(self) -> None:
        """Write what waits for the end of this loop turn."""
        if self.alive and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def _check(self) -> None:
        """One timer serves all calls: replies come in order, so the oldest is late first."""
        watch, self._watch = self._watch, None
        if not self._pending or watch is None:
            return
        deadline = self._pending[0][0]
        # A later call has a timer of its own, with its own grace after a stall.
        if deadline <= watch.when:
            self.was_late = True
            self.drop("Redis did not answer in time.")
        else:
            self._watch = Timer(self._loop, deadline, self._check)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._resolve(reply)
        except hiredis.ProtocolError:
            self.drop("Redis answered something that is not its protocol.")

    def _resolve(self, reply: Any) -> None:
        if not self._pending:
            self.drop("Redis sent a reply that nobody asked for.")
            return
        deadline, future = self._pending.popleft()
        if future.done():
            return
        if not isinstance(reply, hiredis.ReplyError):
            future.set_result(reply)
            return
        error = ReplyError(str(reply), deadline)
        future.set_exception(error)
        if error.kind in ("READONLY", "MASTERDOWN"):
            # It was the primary before; its name may lead to the new one today.
            self.drop("Redis has become a replica.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop("The connection to Redis was lost.")


def take_over(connection: Connection) -> asyncio.StreamWriter:
    """Return the stream of a connection that redis-py opened, for which it has no public way."""
    writer: asyncio.StreamWriter | None = connection._writer
    if writer is None or writer.transport.is_closing():
        raise StoreError("Redis closed the connection at once.")
    connection._writer = connection._reader = None
    return writer


def fail(future: asyncio.Future[Any], reason: str) -> None:
    if not future.done():
        future.set_exception(StoreError(reason))


def pack(*parts: str | bytes | int, more: int = 0) -> bytes:
    """Return a command in the Redis protocol; `more` parts will be appended later."""
    out = [b"*%d\r\n" % (len(parts) + more)]
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)
