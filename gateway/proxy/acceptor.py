"""Accept connections: each of several processes gets its share, and a crowd of stalled TLS
handshakes keeps nobody out."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.log import Seldom, log
from gateway.proxy.sockets import is_starved

# Long enough for another process to wake up, short for a caller.
PAUSE_SECONDS = 0.001
# The most connections accepted at once, when they come faster than one a pause.
MOST_AT_ONCE = 64
# How long to wait, when file descriptors have run out, for some to be given back.
STARVED_SECONDS = 0.1
SAID_AGAIN_SECONDS = 10.0


class Acceptor:
    """Accepts the connections of one listening socket.

    `tls`: arguments for a TLS handshake that begins now; empty: no TLS. `most`: handshakes under
    way at once; beyond it the oldest one ends. `shared`: other processes accept on the socket too.
    An event loop takes all connections that wait: of 32 opened at once, one of two idle workers got
    nearly all. So one is accepted, then the other processes get a moment; while more connections
    wait than that, two are accepted, then four, so that no caller waits for long.
    """

    def __init__(
        self,
        listening: socket.socket,
        accept: Callable[[], asyncio.Protocol],
        tls: Callable[[], dict[str, Any]],
        *,
        most: int,
        shared: bool,
    ) -> None:
        self.sockets: tuple[socket.socket, ...] = (listening,)
        self._socket = listening
        self._accept = accept
        self._tls = tls
        self._most = most
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._pausing: asyncio.TimerHandle | None = None
        self._lately_starved = Seldom(self._loop.time, SAID_AGAIN_SECONDS)
        # Handshakes under way, the oldest first.
        self._opening: dict[asyncio.Task[Any], None] = {}
        self._at_once = self._fewest = 1 if shared else MOST_AT_ONCE

    def start(self, backlog: int) -> None:
        self._socket.setblocking(False)
        self._socket.listen(backlog)
        self._loop.add_reader(self._socket.fileno(), self._take)

    def close(self) -> None:
        """Stop accepting. Connections that were accepted go on."""
        if not self.sockets:
            return
        self.sockets = ()
        if self._pausing is not None:
            self._pausing.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _take(self) -> None:
        pause = PAUSE_SECONDS if self._shared else 0.0
        for _ in range(self._at_once):
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                self._at_once = self._fewest
                break
            except OSError as problem:
                # Any other error is about a caller that has left meanwhile.
                if is_starved(problem):
                    pause = STARVED_SECONDS
                    self._log_starved(problem)
                break
            self._open(taken)
        else:
            self._at_once = min(2 * self._at_once, MOST_AT_ONCE)
        if pause:
            listening = self._socket.fileno()
            self._loop.remove_reader(listening)
            self._pausing = self._loop.call_later(
                pause, self._loop.add_reader, listening, self._take
            )

    def _log_starved(self, problem: OSError) -> None:
        """Log that callers have to wait: they themselves get no answer at all."""
        if self._lately_starved.due():
            log.warning("callers_wait", reason=problem.strerror)

    def _open(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        tls = self._tls()
        if tls and len(self._opening) >= self._most:
            # No honest handshake takes as long as the oldest has had.
            oldest = next(iter(self._opening))
            del self._opening[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._opened(taken, tls))
        self._opening[task] = None
        task.add_done_callback(partial(self._ended, taken))

    def _ended(self, taken: socket.socket, task: asyncio.Task[Any]) -> None:
        self._opening.pop(task, None)
        if task.cancelled():
            # A task that was cancelled before it began has not closed the socket.
            taken.close()

    async def _opened(self, taken: socket.socket, tls: dict[str, Any]) -> None:
        try:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._accept, taken, **tls)
        except OSError:
            # The caller has left already, or speaks no TLS.
            with suppress(OSError):
                taken.close()
