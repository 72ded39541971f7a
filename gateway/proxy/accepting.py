"""Accepting connections: each of several processes gets its share, and no crowd of handshakes
that do not go on keeps others out."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.log import log
from gateway.proxy.sockets import is_starved

# Long enough for another process to be awake, short for a caller.
PAUSE_SECONDS = 0.001
# The most that is taken at once, when connections come faster than one a pause.
MOST_AT_ONCE = 64
# Until somebody has given back a descriptor.
STARVED_SECONDS = 0.1
SAID_AGAIN_SECONDS = 10.0


class Acceptor:
    """Makes a connection of whatever comes in on one socket. `tls`: what a handshake that begins
    now takes; empty: none is made. `most`: of them under way; beyond it the oldest one ends.

    `shared`: other processes accept on it too. Event loops take all that waits, so of 32
    connections opened at once one of two idle workers got nearly all. Here one is taken, then a
    moment is left to the others; while more wait than that, two, then four, so that nobody waits
    for long.
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
        self._quiet_until = 0.0
        # In the order in which they came.
        self._opening: dict[asyncio.Task[Any], None] = {}
        self._at_once = self._fewest = 1 if shared else MOST_AT_ONCE

    def start(self, backlog: int) -> None:
        self._socket.setblocking(False)
        self._socket.listen(backlog)
        self._loop.add_reader(self._socket.fileno(), self._take)

    def close(self) -> None:
        """Accept no more. What was accepted goes on."""
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
                # Anything else is about a caller who has left meanwhile.
                if is_starved(problem):
                    pause = STARVED_SECONDS
                    self._say_starved(problem)
                break
            self._open(taken)
        else:
            self._at_once = min(2 * self._at_once, MOST_AT_ONCE)
        if pause:
            self._loop.remove_reader(self._socket.fileno())
            self._pausing = self._loop.call_later(pause, self._go_on)

    def _say_starved(self, problem: OSError) -> None:
        """Callers hear nothing at all: they wait."""
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + SAID_AGAIN_SECONDS
            log.warning("callers_wait", reason=problem.strerror)

    def _go_on(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._take)

    def _open(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        tls = self._tls()
        if tls and len(self._opening) >= self._most:
            # Nobody needs as long as it has had.
            oldest = next(iter(self._opening))
            del self._opening[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._opened(taken, tls))
        self._opening[task] = None
        task.add_done_callback(partial(self._ended, taken))

    def _ended(self, taken: socket.socket, task: asyncio.Task[Any]) -> None:
        self._opening.pop(task, None)
        if task.cancelled():
            # It may not even have begun.
            taken.close()

    async def _opened(self, taken: socket.socket, tls: dict[str, Any]) -> None:
        try:
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._accept, taken, **tls)
        except OSError:
            # Gone before it was there, or no TLS, which is its own affair.
            with suppress(OSError):
                taken.close()
