"""One place that has to be filled with a worker."""

import asyncio

from gateway.domain.backoff import pause_after
from gateway.log import log
from gateway.workers.crew import Crew
from gateway.workers.process import WorkerProcess

READY_SECONDS = 60.0
# Whatever ended a worker that lived this long is not likely to end its successor at once.
STABLE_SECONDS = 30.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
RETRY_SECONDS = 10.0


class Slot:
    """Filled by one worker after another."""

    def __init__(self, crew: Crew, first: WorkerProcess | None) -> None:
        self._crew = crew
        self._worker = first
        self._changing = asyncio.Lock()
        self._failures = 0

    async def keep(self) -> None:
        """Keep the slot filled. Never ends by itself."""
        while True:
            worker = self._worker or await self._fill()
            await worker.until_spent()
            if worker is not self._worker:
                continue
            if worker.ended.done():
                self._worker = None
                self._failed(worker)
            elif not await self.replace():
                await asyncio.sleep(RETRY_SECONDS)

    async def replace(self) -> bool:
        """Start a new worker, and once it serves, dismiss the old one.

        False if the new one does not become ready: the old one stays.
        """
        async with self._changing:
            new = await self._started()
            if new is None:
                return False
            old, self._worker = self._worker, new
            if old is not None:
                self._crew.dismiss(old)
            log.info("worker_replaced", old=old.pid if old else None, new=new.pid)
            return True

    async def _started(self) -> WorkerProcess | None:
        try:
            worker = self._crew.start()
        except OSError as problem:
            log.error("worker_not_started", reason=problem.strerror)
            return None
        try:
            if await worker.until_ready(READY_SECONDS):
                log.info("worker_ready", worker=worker.pid)
                return worker
        except asyncio.CancelledError:
            self._crew.dismiss(worker)
            raise
        code = worker.ended.result() if worker.ended.done() else None
        log.error("worker_not_ready", worker=worker.pid, code=code)
        self._crew.dismiss(worker)
        return None

    async def _fill(self) -> WorkerProcess:
        while True:
            await asyncio.sleep(pause_after(self._failures, FIRST_PAUSE, LONGEST_PAUSE))
            async with self._changing:
                self._worker = self._worker or await self._started()
            if self._worker is not None:
                return self._worker
            self._failures += 1

    def _failed(self, worker: WorkerProcess) -> None:
        lived = asyncio.get_running_loop().time() - worker.started_at
        self._failures = 1 if lived > STABLE_SECONDS else self._failures + 1
        log.error(
            "worker_ended", worker=worker.pid, code=worker.ended.result(), lived=round(lived, 1)
        )
