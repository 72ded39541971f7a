"""One Redis connection, shared by every request of a process.

redis-py makes it (TLS, AUTH, unix sockets); then its transport is taken over and read with hiredis:
commands of one loop turn are written together, replies are given out first in, first out. A
connection per command, as redis-py's pool does it, costs four times as much (about 200 µs).

A call that was written and not answered is never repeated: whether it ran is unknown, and running
it twice would charge twice. It ends in StoreError, as does one that waited for too long.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio import Connection
from redis.exceptions import RedisError

from gateway.domain.errors import StoreError

MAX_WAITING = 10_000
FIRST_RETRY = 0.02
LONGEST_RETRY = 0.5

log = structlog.get_logger()


class ReplyError(StoreError):
    """Redis answered with an error; `kind` is its first word, such as NOSCRIPT or OOM."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.kind = text.partition(" ")[0]


class Multiplexer:
    """Sends packed commands on one connection and keeps it alive.

    `connect` makes a new, not yet connected redis-py connection; `prepare` are packed commands
    sent first on each new one (SCRIPT LOAD). `timeout`: seconds until a call ends in StoreError.
    """

    def __init__(
        self, connect: Callable[[], Connection], *, timeout: float, prepare: tuple[bytes, ...] = ()
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._prepare = prepare
        self._loop = asyncio.get_running_loop()
        self._line: _Line | None = None
        self._waiting: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._connecting = asyncio.create_task(self._keep_connected())

    @property
    def connected(self) -> bool:
        return self._line is not None

    def call(self, command: bytes) -> asyncio.Future[Any]:
        """The reply to a packed command: int, bytes, None or a list of them; else StoreError."""
        future: asyncio.Future[Any] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout
        if self._line is not None:
            self._line.send(command, future, deadline)
        elif self._closed or len(self._waiting) >= MAX_WAITING:
            future.set_exception(StoreError("Redis is not reachable."))
        else:
            self._waiting.append((deadline, command, future))
            if self._sweeper is None:
                self._sweeper = self._loop.call_at(deadline, self._sweep)
        return future

    async def close(self) -> None:
        self._closed = True
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for _, _, future in self._waiting:
            _fail(future, "The gateway is stopping.")
        if self._line is not None:
            self._line.drop("The gateway is stopping.")

    def _sweep(self) -> None:
        """End the calls that no connection came for in time."""
        self._sweeper = None
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _fail(self._waiting.popleft()[2], "Redis is not reachable.")
        if self._waiting:
            self._sweeper = self._loop.call_at(self._waiting[0][0], self._sweep)

    async def _keep_connected(self) -> None:
        delay = 0.0
        # redis-py loses a cancellation that comes at the wrong moment (asyncio.wait_for does).
        while not self._closed:
            try:
                line = await self._open()
            except (RedisError, OSError, StoreError, TimeoutError) as problem:
                if delay == 0.0:
                    log.warning("store_unreachable", error=type(problem).__name__)
                delay = min(LONGEST_RETRY, delay * 2 or FIRST_RETRY)
                await asyncio.sleep(delay)
                continue
            delay = 0.0
            await self._use(line)

    async def _open(self) -> "_Line":
        async with asyncio.timeout(self._timeout):
            connection = self._connect()
            try:
                await connection.connect()
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            line = _Line(_take_over(connection), self._loop)
            try:
                for command in self._prepare:
                    future = self._loop.create_future()
                    line.send(command, future, self._loop.time() + self._timeout)
                    await future
            except BaseException:
                line.drop("Redis could not be prepared.")
                raise
        line.unwatch()
        return line

    async def _use(self, line: "_Line") -> None:
        lost = asyncio.Event()

        def on_lost() -> None:
            # At once: a call of the same turn waits for the next connection.
            self._line = None
            lost.set()

        line.on_lost = on_lost
        if self._closed:
            line.drop("The gateway is stopping.")
            return
        if line.alive:
            self._line = line
            waiting, self._waiting = self._waiting, deque()
            for deadline, command, future in waiting:
                if not future.done():
                    line.send(command, future, deadline)
            await lost.wait()
        log.warning("store_connection_lost")


class _Line(asyncio.Protocol):
    """One live connection: what was sent and not yet answered, in order."""

    def __init__(self, writer: asyncio.StreamWriter, loop: asyncio.AbstractEventLoop) -> None:
        # Held on to: a StreamWriter that is collected closes its transport.
        self._writer = writer
        self._loop = loop
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self.alive = True
        self.on_lost: Callable[[], object] = lambda: None
        self._transport = cast(asyncio.Transport, writer.transport)
        self._transport.set_protocol(self)

    def send(self, command: bytes, future: asyncio.Future[Any], deadline: float) -> None:
        """`deadline`: when the call ends in StoreError; never before that of one sent earlier."""
        if not self.alive or len(self._pending) >= MAX_WAITING:
            _fail(future, "Redis does not keep up.")
            return
        self._pending.append((deadline, future))
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(command)
        if self._watch is None:
            self._watch = self._loop.call_at(deadline, self._check)

    def drop(self, reason: str) -> None:
        """Close; every call under way ends in StoreError, because whether it ran is unknown."""
        if not self.alive:
            return
        self.alive = False
        self.unwatch()
        self._transport.abort()
        for _, future in self._pending:
            _fail(future, reason)
        self._pending.clear()
        self._outgoing.clear()
        self.on_lost()

    def unwatch(self) -> None:
        """Nothing is under way: the next call may have an earlier deadline than the last had."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _flush(self) -> None:
        if self.alive and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
            self._outgoing.clear()

    def _check(self) -> None:
        """One timer for all calls: replies come in order, so the oldest call is the first late."""
        self._watch = None
        if not self._pending:
            return
        deadline = self._pending[0][0]
        if deadline <= self._loop.time():
            self.drop("Redis did not answer in time.")
        else:
            self._watch = self._loop.call_at(deadline, self._check)

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
        _, future = self._pending.popleft()
        if future.done():
            return
        if not isinstance(reply, hiredis.ReplyError):
            future.set_result(reply)
            return
        error = ReplyError(str(reply))
        future.set_exception(error)
        if error.kind == "READONLY":
            # It was the primary once; whoever its name leads to now may be it today.
            self.drop("Redis has become a replica.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop("The connection to Redis was lost.")


def _take_over(connection: Connection) -> asyncio.StreamWriter:
    """The stream of a connection that redis-py made; it has no public way to hand one over."""
    writer: asyncio.StreamWriter | None = connection._writer
    if writer is None:
        raise StoreError("Redis closed the connection at once.")
    connection._writer = connection._reader = None
    return writer


def _fail(future: asyncio.Future[Any], reason: str) -> None:
    if not future.done():
        future.set_exception(StoreError(reason))


def pack(*parts: str | bytes | int, more: int = 0) -> bytes:
    """A command in the Redis protocol; `more` parts are put behind it later."""
    out = [b"*%d\r\n" % (len(parts) + more)]
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)
