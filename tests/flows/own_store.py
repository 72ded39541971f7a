"""A server that a test may stop, kill and fill, because nobody else uses it."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.domain.settings import StoreSettings
from tests.server import server_binary

PATIENCE = 30.0


class OwnStore:
    """Keeps what it acknowledged, however it ends. `client` is for the test alone.

    `options`: further words for the server; `login`: name and password of the test's own user.
    """

    def __init__(
        self, folder: Path, options: Sequence[str] = (), login: tuple[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.settings = self.as_user(None)
        self.client: Redis = Redis.from_url(self.as_user(login).url or "", decode_responses=True)

    def as_user(self, login: tuple[str, str] | None) -> StoreSettings:
        """How this user reaches it."""
        who = "{}:{}@".format(*login) if login else ""
        return StoreSettings(url=f"unix://{who}{self.socket}", state_dir=self.folder / "state")

    async def start(self) -> None:
        self._process = self._spawn()
        async with asyncio.timeout(PATIENCE):
            while not await self._answers():
                await asyncio.sleep(0.01)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "always",
        }
        words = [word for pair in options.items() for word in pair]
        command = [server_binary(), *self._options, *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

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

    def forget(self) -> None:
        """It was killed; what it kept is gone."""
        shutil.rmtree(self.folder / "appendonlydir")

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@asynccontextmanager
async def own_store(
    options: Sequence[str] = (), login: tuple[str, str] | None = None
) -> AsyncIterator[OwnStore]:
    with TemporaryDirectory() as folder:
        store = OwnStore(Path(folder), options, login)
        await store.start()
        try:
            yield store
        finally:
            await store.client.aclose()
            store.kill()
