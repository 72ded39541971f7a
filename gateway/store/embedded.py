"""A private Redis-compatible server, for one machine and as long as its starter lives."""

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gateway.domain.errors import OperationError
from gateway.store.engine import Engine, check_data, find_engine
from gateway.store.state_dir import prepare, socket_path

START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1

_CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel warning
logfile {log}
daemonize no
enable-debug-command no
enable-module-command no
"""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running store. `started_here`: it ends with this context."""

    socket: Path
    started_here: bool


@asynccontextmanager
async def embedded(state_dir: Path, engine: Engine | None = None) -> AsyncIterator[Embedded]:
    """The store of `state_dir`: the one that runs there, or one started for this context.

    Never two on one directory: whoever holds the lock has the server. OperationError where none
    can be had. Start it from the main thread: the server dies with the thread that made it.
    """
    prepare(state_dir)
    path = socket_path(state_dir)
    lock = await _lock_or_server(state_dir, path)
    if lock is None:
        yield Embedded(path, started_here=False)
        return
    with lock:
        server = await _start(engine or find_engine(), state_dir, path)
        try:
            yield Embedded(path, started_here=True)
        finally:
            await _stop(server)
            path.unlink(missing_ok=True)


def running_socket(state_dir: Path) -> Path | None:
    """The socket of a server that runs on `state_dir` now."""
    if not state_dir.is_dir():
        return None
    path = socket_path(state_dir)
    return path if _answers(path) else None


async def _lock_or_server(state_dir: Path, path: Path) -> IO[bytes] | None:
    """The lock of the directory, or None once a server of somebody else answers."""
    lock = (state_dir / "store.lock").open("ab")
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        if _answers(path):
            lock.close()
            return None
        if asyncio.get_running_loop().time() > deadline:
            lock.close()
            raise OperationError(
                f"Another process holds {state_dir / 'store.lock'} but its store does not "
                "answer: end that process, or choose another --state-dir."
            )
        await asyncio.sleep(POLL_SECONDS)


async def _start(engine: Engine, state_dir: Path, path: Path) -> subprocess.Popen[bytes]:
    data = prepare(state_dir / "store")
    wrote = data / "engine"
    check_data(engine, wrote.read_text() if wrote.exists() else "")
    wrote.write_text(str(engine))
    log = data / "server.log"
    log.write_bytes(b"")
    config = data / "server.conf"
    config.write_text(_CONFIG.format(socket=_quoted(path), data=_quoted(data), log=_quoted(log)))
    path.unlink(missing_ok=True)
    server = _spawn([str(engine.path), str(config)])
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not _answers(path):
        if server.poll() is not None or asyncio.get_running_loop().time() > deadline:
            await _stop(server)
            said = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise OperationError(f"The embedded store ({engine}) did not start: {' '.join(said)}")
        await asyncio.sleep(POLL_SECONDS)
    return server


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C ends the gateway first; it dies with its parent."""
    on_linux = sys.platform == "linux"
    libc = ctypes.CDLL(None) if on_linux else None
    parent = os.getpid()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)

    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent if on_linux else None,
    )
    if not on_linux:
        _watch_from_outside(server.pid)
    return server


def _watch_from_outside(pid: int) -> None:
    """Where the kernel has no parent-death signal: a shell that waits for our end of a pipe."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, False)
    subprocess.Popen(
        ["/bin/sh", "-c", f"cat >/dev/null; kill {pid} 2>/dev/null"],
        stdin=read_end,
        start_new_session=True,
    )
    os.close(read_end)


async def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        await asyncio.to_thread(server.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        await asyncio.to_thread(server.wait)


def _answers(path: Path) -> bool:
    """Whether a server on `path` has loaded its data and takes commands."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
