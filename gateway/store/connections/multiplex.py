"""One Redis node, shared by every request of a process over one connection that is kept open.

A pooled connection per command, as in redis-py, costs four times as much (about 200 µs).

A call that was written and not answered is never repeated: it is unknown whether it ran, and
running it twice would charge twice. It ends in StoreError, as does a call that waited too long.

A node that is away costs its callers milliseconds, not timeouts. Calls wait up to PATIENCE for a
lost connection, and not at all after a node let a call run into its timeout. From then on each call
is refused at once until a new connection has answered.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio import Connection
from redis.exceptions import RedisError

from gateway.domain.backoff import pause_after
from gateway.domain.errors import StoreError
from gateway.log import log
from gateway.store.connections.failures import reason_of
from gateway.store.connections.line import MAX_WAITING, Line, ReplyError, fail, pack, take_over
from gateway.tasks import cancel_and_wait, retrieve_exception, unending
from gateway.timers import Timer, timeout

# A server that restarts, or a proxy that closes idle connections, is back within this time.
PATIENCE = 0.25
FIRST_RETRY = 0.02
LONGEST_RETRY = 0.25
# Sent last on a new connection: a server that connects but runs no script is not back yet.
PROBE = pack("EVAL", "return 1", 0)
ASKING = pack("ASKING")


class Multiplexer:
    """Implements `Lines` on one connection to one node, which it keeps open.

    `connect` makes a new, not yet connected redis-py connection; `prepare` are packed commands sent
    first on each (SCRIPT LOAD). `timeout`: seconds until a call ends in StoreError. `on_lost` is
    called on each loss, and on each failed attempt to connect.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        timeout: float,
        prepare: tuple[bytes, ...] = (),
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._prepare = (*prepare, PROBE)
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._waiting: deque[tuple[float, bytes, asyncio.Future[Any]]] = deque()
        self._patience: Timer | None = None
        self._closed = False
        self._wait_for(timeout)
        self._connecting = unending(self._keep_connected)

    def call(self, command: bytes, key_id: str = "") -> asyncio.Future[Any]:
        """Return the reply to a packed command: int, bytes, None or a list of them; else
        StoreError.

        `key_id` is unused, because there is only one node.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._line is not None:
            self._line.send(command, future, self._loop.time() + self._timeout)
        elif self._patience is None or len(self._waiting) >= MAX_WAITING:
            future.set_exception(StoreError("Redis is not reachable."))
        else:
            self._waiting.append((self._loop.time() + self._timeout, command, future))
        return future

    def call_asking(self, command: bytes) -> asyncio.Future[Any]:
        """Like `call`, to a cluster node that is still importing the key's slot."""
        # Two commands of one loop turn stay adjacent on the connection.
        self.call(ASKING).add_done_callback(retrieve_exception)
        return self.call(command)

    async def repeat(self, error: ReplyError, command: bytes, key_id: str) -> Any:
        if error.kind != "NOSCRIPT":
            raise error
        return await self.call(command)

    def post(self, command: bytes, key_id: str) -> None:
        self.call(command).add_done_callback(retrieve_exception)

    def flush(self, key_id: str) -> None:
        if self._line is not None:
            self._line.flush()

    async def ping(self) -> None:
        await self.call(pack("PING"))

    def reconnect(self, reason: str) -> None:
        """Drop the connection and open another one, because this one leads to the wrong server."""
        if self._line is not None:
            self._line.drop(reason)

    async def close(self) -> None:
        self._closed = True
        await cancel_and_wait(self._connecting)
        self._refuse("The gateway is stopping.")
        self.reconnect("The gateway is stopping.")
        self._refuse("The gateway is stopping.")

    def _wait_for(self, seconds: float) -> None:
        """Let calls wait this long for a connection, then refuse them until there is one."""
        if seconds > 0 and not self._closed:
            self._patience = Timer(self._loop, self._loop.time() + seconds, self._refuse)

    def _refuse(self, reason: str = "Redis is not reachable.") -> None:
        """Refuse waiting calls and those to come."""
        self._no_longer_waiting()
        waiting, self._waiting = self._waiting, deque()
        for _, _, future in waiting:
            fail(future, reason)

    def _no_longer_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    async def _keep_connected(self) -> None:
        failures = 0
        while not self._closed:
            try:
                line = await self._open()
            except Exception as problem:  # noqa: BLE001 (whatever it is, the next attempt may succeed)
                if not failures:
                    log.warning("store_unreachable", reason=_told(problem))
                failures += 1
                self._on_lost()
            else:
                began = self._loop.time()
                await self._use(line)
                # A server that accepts connections and closes them counts as one that fails.
                failures = failures + 1 if self._loop.time() - began < PATIENCE else 0
            await asyncio.sleep(pause_after(failures, FIRST_RETRY, LONGEST_RETRY))

    async def _open(self) -> Line:
        async with timeout(self._timeout):
            connection = self._connect()
            try:
                await connection.connect()
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            line = Line(take_over(connection), self._loop)
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

    async def _use(self, line: Line) -> None:
        lost = asyncio.Event()

        def on_lost() -> None:
            # At once, so that a call of the same loop turn waits for the next connection.
            self._line = None
            self._wait_for(0.0 if line.was_late else min(PATIENCE, self._timeout))
            lost.set()
            self._on_lost()

        line.on_lost = on_lost
        if self._closed:
            line.drop("The gateway is stopping.")
            return
        if line.alive:
            self._line = line
            self._no_longer_waiting()
            waiting, self._waiting = self._waiting, deque()
            for deadline, command, future in waiting:
                if not future.done():
                    line.send(command, future, deadline)
            await lost.wait()
        log.warning("store_connection_lost")


def _told(problem: Exception) -> str:
    """Return the reason for the log. An unexpected one may quote anything, so it is only named."""
    expected = isinstance(problem, (RedisError, OSError, StoreError, TimeoutError))
    return reason_of(problem) if expected else type(problem).__name__
