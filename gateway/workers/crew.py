"""All living workers."""

import asyncio
import signal
from collections.abc import Callable
from itertools import count

from gateway.tasks import Tasks
from gateway.workers.process import WorkerProcess


class Crew:
    """`spawn` starts a worker on a seat, beside others that serve or not; `left` is called with a
    seat that is free again.

    `patience`: seconds that a worker may take to drain.
    """

    def __init__(
        self,
        spawn: Callable[[int, bool], WorkerProcess],
        left: Callable[[int], None],
        patience: float,
    ) -> None:
        self._spawn = spawn
        self._left = left
        self._patience = patience
        self._alive: dict[int, WorkerProcess] = {}
        self._leaving = Tasks()
        self._ending = False

    def start(self) -> WorkerProcess:
        """Start a worker; OSError if the system allows no further process."""
        seat = next(number for number in count() if number not in self._alive)
        beside = any(one.ready.is_set() and not one.dismissed for one in self._alive.values())
        worker = self._alive[seat] = self._spawn(seat, beside)
        worker.ended.add_done_callback(lambda _: self._on_exit(worker))
        if self._ending:
            worker.announce_end()
        return worker

    def _on_exit(self, worker: WorkerProcess) -> None:
        if worker.ended.cancelled():
            # This process is ending: nobody will wait for the worker.
            worker.send(signal.SIGKILL)
            return
        del self._alive[worker.seat]
        self._left(worker.seat)

    def dismiss(self, worker: WorkerProcess) -> None:
        """Let it drain while the others go on; repeated calls send no second signal."""
        if worker.dismissed:
            return
        worker.dismissed = True
        self._leaving.begin(worker.stop(self._patience))

    def reload(self) -> None:
        """Send SIGHUP to the ready workers. One that is not ready reads its policies anyway, and
        SIGHUP would end it."""
        for worker in self._alive.values():
            if worker.ready.is_set():
                worker.send(signal.SIGHUP)

    def announce_end(self) -> None:
        """Announce the end to all workers, including those that start from now on."""
        self._ending = True
        for worker in self._alive.values():
            worker.announce_end()

    async def stop(self) -> None:
        for worker in self._alive.values():
            self.dismiss(worker)
        await asyncio.gather(*self._leaving)

    def kill(self) -> None:
        for worker in self._alive.values():
            worker.send(signal.SIGKILL)
