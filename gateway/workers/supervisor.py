"""The process above several workers: it holds the sockets and the store, and serves no requests."""

import asyncio
import signal
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.domain.settings import Settings, StoreSettings
from gateway.log import log
from gateway.proxy.sockets import address_of, bound
from gateway.services.telemetry.traffic import forget_seat
from gateway.signals import stop_signals
from gateway.store.connections.connect import resolved
from gateway.tasks import background, cancel_and_wait, start_threads, unending
from gateway.workers.crew import Crew
from gateway.workers.process import WorkerProcess, spawner
from gateway.workers.slot import READY_SECONDS, Slot

# In addition to the drain, for a worker's own end.
END_SECONDS = 10.0


async def supervise(settings: Settings, workers: int) -> int:
    """Keep `workers` workers until SIGTERM or SIGINT, then let them drain. Return the exit code.

    OperationError if it cannot start. The first worker starts alone: what keeps it from serving
    would keep all of them, and should be reported once.
    """
    start_threads()
    async with resolved(settings.store) as store, AsyncExitStack() as stack:
        if settings.store.url is None:
            log.info("embedded_store", directory=str(store.state_dir), reach=store.redis_cli)
        sockets = stack.enter_context(ExitStack())
        data, admin = await bound(settings.listen), await bound(settings.admin_listen)
        for one in (*data, *admin):
            sockets.enter_context(one)
        folder = stack.enter_context(TemporaryDirectory(prefix="gateway-workers-"))
        spawn = spawner(data, admin, folder, _own_url(settings.store, store))
        crew = Crew(spawn, partial(forget_seat, Path(folder)), settings.drain + END_SECONDS)
        stack.callback(crew.kill)
        supervisor = Supervisor(crew, workers, settings.shutdown_delay)
        first = crew.start()
        if (code := await supervisor.until_first(first)) is not None:
            return code
        addresses = {"data": str(address_of(data)), "admin": str(address_of(admin))}
        log.info("listening", **addresses, workers=workers)
        await supervisor.keep(first)
        sockets.close()
        log.info("draining", seconds=settings.drain)
        await crew.stop()
        log.info("stopped")
        return 0


def _own_url(wanted: StoreSettings, found: StoreSettings) -> str | None:
    """Return the URL of the embedded store. A configured URL may hold a password, and is known to
    workers already."""
    return found.url if wanted.url is None else None


class Supervisor:
    """Turns signals into acts on the crew. Create it in the running loop."""

    def __init__(self, crew: Crew, workers: int, shutdown_delay: float) -> None:
        self._crew = crew
        self._workers = workers
        self._slots: list[Slot] = []
        self._rolling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shutdown_delay = shutdown_delay
        # No delay yet: there are no callers who would have to learn of the end first.
        self._stopped = stop_signals(self._reload)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._roll_soon)

    async def until_first(self, worker: WorkerProcess) -> int | None:
        """Return None once the first worker serves, else the exit code."""
        stopped = asyncio.create_task(self._stopped.wait())
        ready = asyncio.create_task(worker.until_ready(READY_SECONDS))
        await asyncio.wait({stopped, ready}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ready.done() and ready.result():
            log.info("worker_ready", worker=worker.pid)
            return None
        ready.cancel()
        if self._stopped.is_set():
            await self._crew.stop()
            return 0
        if not worker.ended.done():
            log.error("worker_not_ready", worker=worker.pid)
            return 1
        # The worker has logged why.
        return max(worker.ended.result(), 1)

    async def keep(self, first: WorkerProcess) -> None:
        """Keep all slots filled until SIGTERM or SIGINT, the first one with `first`."""
        if not self._stopped.is_set():
            self._stopped = stop_signals(
                self._reload, delay=self._shutdown_delay, announce_end=self._crew.announce_end
            )
        self._slots = [Slot(self._crew, first if n == 0 else None) for n in range(self._workers)]
        for slot in self._slots:
            self._tasks.add(unending(slot.keep))
        await self._stopped.wait()
        await cancel_and_wait(*self._tasks)

    async def _reload(self) -> None:
        self._crew.reload()

    def _roll_soon(self) -> None:
        if self._stopped.is_set():
            return
        task = background(self._roll())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _roll(self) -> None:
        """Replace one slot after the other; give up if a new worker does not become ready."""
        async with self._rolling:
            log.info("rolling_restart_begun")
            for slot in self._slots:
                if not await slot.replace():
                    log.error("rolling_restart_given_up")
                    return
            log.info("rolling_restart_done")
