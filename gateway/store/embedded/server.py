"""The embedded store: a private Redis-compatible server that runs while somebody here needs it."""

import asyncio
import fcntl
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.domain.errors import OperationError
from gateway.log import log
from gateway.store.embedded import process as server_process
from gateway.store.embedded.engine import Engine, find_engine
from gateway.store.state_dir import STORE, STORE_LOCK, prepare, socket_path
from gateway.tasks import cancel_and_wait, unending

START_SECONDS = 30.0
POLL_SECONDS = 0.02
# The longest time until a dead server is noticed.
WATCH_SECONDS = 0.1
RETRY_SECONDS = 2.0


@asynccontextmanager
async def embedded(state_dir: Path, engine: Engine | None = None) -> AsyncIterator[Path]:
    """Yield the socket of the store in `state_dir`: of a running server, or of one that is started
    for this context.

    There are never two servers on one directory: whoever holds the lock owns the server. If its
    owner ends while others need it, one of those restarts it on the same files; if the server dies,
    its owner restarts it. OperationError if none can be had. Enter it in the main thread: a server
    dies with the thread that started it.
    """
    store = _Store(prepare(state_dir), engine)
    await store.open()
    watching = unending(store.watch)
    try:
        yield store.socket
    finally:
        await cancel_and_wait(watching)
        await store.close()


def has_store(state_dir: Path) -> bool:
    """Whether there is a store in `state_dir`, running or not."""
    return _data(state_dir).is_dir()


class _Store:
    """This process's part in the store of one directory: the owner of its server, or a guest."""

    def __init__(self, state_dir: Path, engine: Engine | None) -> None:
        self.socket = socket_path(state_dir)
        self._lock_file = state_dir / STORE_LOCK
        self._data = _data(state_dir)
        self._engine = engine
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None

    async def open(self) -> None:
        """Own the server, or find one that answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        while not await self._own():
            if await asyncio.to_thread(server_process.answers, self.socket):
                return
            if loop.time() > deadline:
                raise OperationError(
                    f"Another process holds {self._lock_file} but its store does not answer: "
                    "end that process, or choose another --state-dir."
                )
            await asyncio.sleep(POLL_SECONDS)

    async def watch(self) -> None:
        """Restart the store if it is gone and nobody else has restarted it."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._server is not None and self._server.poll() is None:
                continue
            try:
                if await self._own():
                    log.warning("embedded_store_restarted")
            except (OperationError, OSError) as problem:
                # Try again for as long as somebody needs it.
                log.warning("embedded_store_failed", reason=str(problem))
                await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        if self._server is not None:
            await server_process.stop(self._server)
            self.socket.unlink(missing_ok=True)
        self._unlock()

    async def _own(self) -> bool:
        """Start a server if this process has the lock or gets it; whether it did."""
        if self._lock is None:
            self._lock = _locked(self._lock_file)
        if self._lock is None:
            return False
        self._server = None
        try:
            engine = self._engine or find_engine()
            self._server = await server_process.start(engine, self._data, self.socket, self._lock)
        except BaseException:
            self._unlock()
            raise
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _data(state_dir: Path) -> Path:
    return state_dir / STORE


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock; None if another process has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
