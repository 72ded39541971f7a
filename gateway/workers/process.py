"""One worker as its supervisor sees it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from gateway.workers.handover import END_ANNOUNCED, READY, SPENT, Handover


class WorkerProcess:
    """A started process. `ended` becomes its exit code; `dismissed`: it was told to drain."""

    def __init__(self, process: "subprocess.Popen[bytes]", seat: int, line: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._line = line
        self._line.setblocking(False)
        self.pid = process.pid
        self.seat = seat
        self.dismissed = False
        self.started_at = self._loop.time()
        self.ready = asyncio.Event()
        self.spent = asyncio.Event()
        self.ended = asyncio.create_task(self._listen())

    async def until_ready(self, seconds: float) -> bool:
        """Wait for it to serve; False if it ends before, or takes longer."""
        await self._first_of(self.ready, seconds)
        return self.ready.is_set() and not self.ended.done()

    async def until_spent(self) -> None:
        """Wait until it asks to be replaced, or has ended."""
        await self._first_of(self.spent, None)

    async def stop(self, patience: float) -> None:
        """Let it drain; kill it if that takes longer than `patience`."""
        self.send(signal.SIGTERM)
        await asyncio.wait({self.ended}, timeout=patience)
        self.send(signal.SIGKILL)
        await asyncio.wait({self.ended})

    def announce_end(self) -> None:
        """Announce the end on the line: a worker that is not ready yet reads it later."""
        with suppress(OSError):
            self._line.send(END_ANNOUNCED)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if it has ended."""
        self._process.send_signal(number)

    async def _first_of(self, event: asyncio.Event, seconds: float | None) -> None:
        waiting = asyncio.create_task(event.wait())
        try:
            both = {waiting, self.ended}
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _listen(self) -> int:
        """Read the line, which closes when the process ends: no child watcher is needed."""
        with self._line, suppress(OSError):
            while word := await self._loop.sock_recv(self._line, 1):
                if word == READY:
                    self.ready.set()
                elif word == SPENT:
                    self.spent.set()
        return await asyncio.to_thread(self._process.wait)


def spawner(
    data: tuple[socket.socket, ...],
    admin: tuple[socket.socket, ...],
    shared: str,
    store: str | None,
) -> Callable[[int, bool], WorkerProcess]:
    """Return a function that starts workers by running this very command again, so that each uses
    the current code and files. Each runs in a session of its own, because Ctrl-C is for the
    supervisor."""

    started = count()

    def spawn(seat: int, beside: bool) -> WorkerProcess:
        line, theirs = socket.socketpair()
        with theirs:
            given = Handover(
                tuple(one.fileno() for one in data),
                tuple(one.fileno() for one in admin),
                theirs.fileno(),
                seat,
                shared,
                store,
                successor=next(started) > 0,
                beside=beside,
            )
            process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, **given.variable()},
                stdin=subprocess.DEVNULL,
                pass_fds=given.descriptors,
                start_new_session=True,
            )
        return WorkerProcess(process, seat, line)

    return spawn
