"""Fixtures that every test may use: a real server of its own for each worker."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import uvloop
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.store.keys import KeyStore
from tests.cli import forks
from tests.needed import program
from tests.server import server_binary


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are cores: for most of the time, tests wait for something. With three
    on two cores, 38 % of the processor time was left over."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    _keep_bytecode()
    _hear_interrupts()
    forks.import_no_grammars()
    # No test fails because the machine is busy.
    unhurried = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    settings.register_profile("unhurried", deadline=None, suppress_health_check=unhurried)
    settings.load_profile("unhurried")
    if config.getoption("numprocesses") and not hasattr(config, "workerinput"):
        forks.share()


def pytest_collectstart() -> None:
    """What tests are made of stays: to look through it again and again frees nothing."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


def _keep_bytecode() -> None:
    """Without it, each worker and each gateway that a test starts would compile every module anew:
    a third of the time that a gateway takes to start."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _hear_interrupts() -> None:
    """Who runs in the background is started with a SIGINT that is ignored, and would hand that on
    to each program it starts: none would ever hear a Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class WakefulLoop(uvloop.Loop):
    """The event loop of production: what it does otherwise than asyncio's own, callers meet."""

    async def shutdown_default_executor(self, *seconds: float | None) -> None:
        """Twice in some thousand runs the last thread's call never woke the loop, which waited for
        good: all threads had ended. Whatever wakes it runs that call too."""

        async def wake() -> None:
            while True:
                await asyncio.sleep(0.5)

        waking = self.create_task(wake())
        try:
            await super().shutdown_default_executor(*seconds)
        finally:
            waking.cancel()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": WakefulLoop}


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        server = subprocess.Popen(
            [server_binary(), "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield socket
        server.kill()
        server.wait()


@pytest.fixture
async def store(valkey_socket: Path, tmp_path: Path) -> StoreSettings:
    client: Redis = Redis(unix_socket_path=str(valkey_socket))
    await client.flushall()
    await client.aclose()
    return StoreSettings(url=f"unix://{valkey_socket}", state_dir=tmp_path / "state")


@pytest.fixture
async def client(store: StoreSettings) -> AsyncIterator[Redis]:
    assert store.url
    made: Redis = Redis.from_url(store.url, decode_responses=True)
    yield made
    await made.aclose()


@pytest.fixture
def keys(client: Redis) -> KeyStore:
    return KeyStore(client, "gw:")


@pytest.fixture
def redis_cli(valkey_socket: Path) -> Callable[..., str]:
    """Runs the real redis-cli against the worker's server; returns what it printed."""
    redis_cli = program("redis-cli", "Debian: redis-tools")

    def run(*words: str) -> str:
        command = [redis_cli, "-s", str(valkey_socket), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run
