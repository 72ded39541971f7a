"""The embedded store: one real server a directory, private, and gone with whoever needs it."""

import asyncio
import fcntl
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from structlog.testing import capture_logs

from gateway.domain.errors import OperationError
from gateway.store.embedded import process
from gateway.store.embedded.engine import Engine
from gateway.store.embedded.process import answers
from gateway.store.embedded.server import embedded
from gateway.store.state_dir import socket_path

REPOSITORY = Path(__file__).parents[3]
TENANT = Path(__file__).with_name("tenant.py")
PATIENCE = 20.0


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that is not there yet, with a path short enough for a socket."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / "state"
        for path in Path(folder).rglob("store.lock"):
            # A server whose parent was killed writes on for a moment, and holds this meanwhile.
            with path.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)


@asynccontextmanager
async def client(socket: Path) -> AsyncIterator[Redis]:
    made: Redis = Redis(
        unix_socket_path=str(socket), decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield made
    finally:
        await made.aclose()


async def info(socket: Path) -> dict[str, Any]:
    async with client(socket) as redis:
        return dict(await redis.info())


async def pid(socket: Path) -> int:
    return int((await info(socket))["process_id"])


async def another_pid(socket: Path, than: int) -> int:
    """The server's process id, once it is another one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (now := await pid(socket)) != than:
                    return now
            except RedisError:
                await asyncio.sleep(0.02)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Tenant:
    """Another process that needs the store."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def socket(self) -> Path:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return Path((await self.process.stdout.readline()).decode().rstrip("\n"))

    async def leave(self) -> int:
        """End in order; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def tenant(state: Path, **environment: str) -> AsyncIterator[Tenant]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        TENANT,
        state,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Tenant(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_is_private_durable_and_never_evicts(state: Path, engine: Engine) -> None:
    async with embedded(state, engine) as socket:
        async with client(socket) as redis:
            told = await redis.config_get("port", "appendonly", "maxmemory-policy", "unixsocket")
            assert told == {
                "port": "0",
                "appendonly": "yes",
                "maxmemory-policy": "noeviction",
                "unixsocket": str(socket),
            }
            assert (await redis.info())["tcp_port"] == 0
        assert socket.parent == state
        assert [mode(state), mode(state / "store"), mode(socket)] == [0o700] * 3


async def test_what_was_written_is_there_the_next_time(state: Path, engine: Engine) -> None:
    async with embedded(state, engine) as socket, client(socket) as redis:
        await redis.set("kept", "yes")
    assert not answers(socket_path(state))
    async with embedded(state, engine) as socket, client(socket) as redis:
        assert await redis.get("kept") == "yes"


async def test_a_directory_that_others_could_read_is_closed_to_them(
    state: Path, engine: Engine
) -> None:
    state.mkdir(mode=0o755)
    async with embedded(state, engine):
        assert mode(state) == 0o700


async def test_a_directory_with_files_of_others_is_left_as_it_is(
    state: Path, engine: Engine
) -> None:
    state.mkdir(mode=0o755)
    (state / "somebody's").touch()
    with pytest.raises(OperationError, match="not the gateway's: choose a directory of its own"):
        async with embedded(state, engine):
            pass
    assert mode(state) == 0o755


async def test_it_dies_with_its_parent_even_a_killed_one(state: Path) -> None:
    async with tenant(state) as owner:
        reader, writer = await asyncio.open_unix_connection(await owner.socket())
        owner.process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b"", "the server closes its connections only by ending"
        writer.close()


async def test_after_a_hard_kill_the_next_start_waits_for_the_old_server(
    state: Path, engine: Engine
) -> None:
    async with tenant(state) as owner:
        socket = await owner.socket()
        async with client(socket) as redis:
            await redis.set("kept", "yes")
        old = await pid(socket)
        # It cannot end yet: it still holds its files, and the lock with them.
        os.kill(old, signal.SIGSTOP)
        owner.process.send_signal(signal.SIGKILL)
        await owner.process.wait()
        entering = asyncio.create_task(enter(state, engine))
        done, _ = await asyncio.wait([entering], timeout=1.5)
        assert not done
        os.kill(old, signal.SIGCONT)
        assert await entering == "yes"


async def enter(state: Path, engine: Engine) -> str | None:
    async with embedded(state, engine) as socket:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with client(socket) as redis:
                        return await redis.get("kept")
                except RedisError:
                    await asyncio.sleep(0.02)


async def test_many_starts_at_once_share_one_server(state: Path) -> None:
    tenants = [tenant(state) for _ in range(5)]
    entered = await asyncio.gather(*(each.__aenter__() for each in tenants))
    try:
        sockets = await asyncio.gather(*(each.socket() for each in entered))
        assert set(sockets) == {state / "store.sock"}
        assert len({await pid(socket) for socket in sockets}) == 1
    finally:
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in tenants))


@pytest.mark.parametrize("hard", [False, True])
async def test_where_the_owner_ends_a_guest_goes_on_with_the_same_data(
    state: Path, engine: Engine, hard: bool
) -> None:
    async with tenant(state) as owner:
        socket = await owner.socket()
        first = await pid(socket)
        async with embedded(state, engine) as found:
            assert (found, await pid(found)) == (socket, first)
            async with client(socket) as redis:
                await redis.set("kept", "yes")
            if hard:
                owner.process.send_signal(signal.SIGKILL)
            else:
                assert await owner.leave() == 0
            await another_pid(socket, than=first)
            async with client(socket) as redis:
                assert await redis.get("kept") == "yes"
    assert not answers(socket_path(state))


async def test_a_server_that_dies_is_started_anew(state: Path, engine: Engine) -> None:
    async with embedded(state, engine) as socket:
        async with client(socket) as redis:
            await redis.set("kept", "yes")
        first = await pid(socket)
        os.kill(first, signal.SIGKILL)
        await another_pid(socket, than=first)
        async with client(socket) as redis:
            assert await redis.get("kept") == "yes"


async def test_a_server_that_died_is_started_as_soon_as_that_is_possible(
    state: Path, engine: Engine
) -> None:
    """A full disk, or no room for a process: what is in its way stays for a while."""
    async with embedded(state, engine) as socket:
        first = await pid(socket)
        config = state / "store" / "server.conf"
        config.unlink()
        config.mkdir()
        with capture_logs() as logs:
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while not logs:
                    await asyncio.sleep(0.02)
        assert logs[0]["event"] == "embedded_store_failed"
        assert logs[0]["reason"] == (
            f"The embedded store in {state / 'store'} cannot be started: Is a directory."
        )
        config.rmdir()
        await another_pid(socket, than=first)


async def test_a_server_that_can_write_nothing_is_found_all_the_same(
    state: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it is then what each command says, and not that nobody answers."""
    # It does not end while it cannot write.
    monkeypatch.setattr(process, "STOP_SECONDS", 0.5)
    async with embedded(state, engine) as socket, client(socket) as redis:
        (state / "store" / "dump.rdb" / "in-its-way").mkdir(parents=True)
        await redis.config_set("save", "3600 1")
        await redis.bgsave()
        async with asyncio.timeout(PATIENCE):
            while (await info(socket))["rdb_last_bgsave_status"] == "ok":
                await asyncio.sleep(0.02)
        with pytest.raises(ResponseError, match="MISCONF"):
            await redis.ping()
        async with embedded(state, engine) as found:
            assert found == socket


async def test_an_overlong_path_gets_a_short_socket_that_every_process_finds(
    state: Path, engine: Engine
) -> None:
    deep = state / ("x" * 120)
    async with embedded(deep, engine) as socket:
        try:
            assert len(os.fsencode(socket)) < 100
            assert mode(socket.parent) == 0o700
            async with tenant(deep, TMPDIR=str(state), XDG_RUNTIME_DIR=str(state)) as other:
                assert await other.socket() == socket
        finally:
            short = socket.parent
    short.rmdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to somebody else")
@pytest.mark.parametrize("link", [False, True])
async def test_a_short_directory_of_somebody_else_is_not_used(
    state: Path, engine: Engine, link: bool
) -> None:
    deep = state / ("x" * 120)
    async with embedded(deep, engine) as socket:
        short = socket.parent
    short.rmdir()
    if link:
        (state / "elsewhere").mkdir()
        short.symlink_to(state / "elsewhere")
    else:
        short.mkdir(mode=0o700)
    os.chown(short, 12345, -1, follow_symlinks=False)
    try:
        with pytest.raises(OperationError, match="belongs to another user"):
            async with embedded(deep, engine):
                pass
    finally:
        short.unlink() if link else short.rmdir()


async def test_data_of_a_newer_engine_are_refused_in_one_sentence(
    state: Path, engine: Engine
) -> None:
    async with embedded(state, engine):
        pass
    (state / "store" / "engine").write_text("valkey 99.1.0")
    before = {p: p.read_bytes() for p in (state / "store").rglob("*") if p.is_file()}
    with pytest.raises(OperationError) as refused:
        async with embedded(state, engine):
            pass
    assert str(refused.value) == (
        f"The data of the embedded store were written by valkey 99.1.0, and {engine} cannot take "
        "them over: use valkey 99.1.0 or newer, or another state directory."
    )
    assert {p: p.read_bytes() for p in (state / "store").rglob("*") if p.is_file()} == before


async def test_a_server_that_cannot_start_tells_why(state: Path, engine: Engine) -> None:
    async with embedded(state, engine):
        pass
    manifest = next((state / "store").rglob("*.manifest"))
    manifest.write_text("nonsense\n")
    with pytest.raises(OperationError, match=r"did not start: .*manifest") as refused:
        async with embedded(state, engine):
            pass
    assert "\n" not in str(refused.value)
