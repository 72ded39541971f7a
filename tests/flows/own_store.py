"""A server that a test may stop, kill and fill, because nobody else uses it."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.domain.settings import StoreSettings
from gateway.store.engine import bundled

PATIENCE = 10.0


class OwnStore:
    """Keeps what it acknowledged, however it ends. `client` is for the test alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.settings = StoreSettings(url=f"unix://{self._socket}", state_dir=folder / "state")
        self.client: Redis = Redis(unix_socket_path=str(self._socket), decode_responses=True)

    async def start(self) -> None:
        self._process = self._spawn()
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():
                await asyncio.sleep(0.01)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        binary = bundled()
        assert binary is not None
        options = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "always",
        }
        words = [word for pair in options.items() for word in pair]
        return subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL)

    async def _answers(self) -> bool:
        try:
            return bool(await self.client.ping())
        except RedisError:
            return False

    def freeze(self) -> None:
        """It keeps its connections and takes new ones, but answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        process = self._process
        assert process is not None
        process.kill()
        process.wait()

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@asynccontextmanager
async def own_store() -> AsyncIterator[OwnStore]:
    with TemporaryDirectory() as folder:
        store = OwnStore(Path(folder))
        await store.start()
        try:
            yield store
        finally:
            await store.client.aclose()
            store.kill()
