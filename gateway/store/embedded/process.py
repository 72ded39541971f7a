"""One Redis-compatible server as a child process that ends with its parent."""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from gateway.domain.errors import OperationError
from gateway.store.embedded.engine import Engine, check_data
from gateway.store.state_dir import prepare

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


async def start(engine: Engine, data: Path, path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a server on the files in `data`; return once it answers on the socket `path`.

    The server inherits the descriptor `lock`: if its parent is killed, the directory stays locked
    until the server has written its files and ended. OperationError if it does not start.
    """
    prepare(data)
    log = data / "server.log"
    try:
        config = _write_files(engine, data, path, log)
        server = _spawn([str(engine.path), str(config)], lock)
    except OSError as problem:
        raise OperationError(
            f"The embedded store in {data} cannot be started: {problem.strerror}."
        ) from None
    try:
        await _until_it_answers(server, path)
    except BaseException as problem:
        await stop(server)
        if not isinstance(problem, TimeoutError):
            raise
        last_lines = " ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise OperationError(f"The embedded store ({engine}) did not start: {last_lines}") from None
    return server


def _write_files(engine: Engine, data: Path, path: Path, log: Path) -> Path:
    """Write the server's files; return the path of its configuration."""
    wrote = data / "engine"
    before = wrote.read_text() if wrote.exists() else ""
    check_data(engine, before)
    if before != str(engine):
        wrote.write_text(str(engine))
    log.write_bytes(b"")
    config = data / "server.conf"
    config.write_text(_CONFIG.format(socket=_quoted(path), data=_quoted(data), log=_quoted(log)))
    path.unlink(missing_ok=True)
    return config


async def stop(server: subprocess.Popen[bytes]) -> None:
    """Let the server write its data and end; kill it if that takes too long."""
    server.terminate()
    try:
        await asyncio.to_thread(server.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        await asyncio.to_thread(server.wait)


def answers(path: Path) -> bool:
    """Whether a server on `path` has loaded its data and replies, if only with an error: without
    disk space it refuses even a PING."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith((b"+PONG", b"-MISCONF", b"-BUSY"))
    except OSError:
        return False


async def _until_it_answers(server: subprocess.Popen[bytes], path: Path) -> None:
    """Wait for an answer; TimeoutError if the server has ended, or takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while not await asyncio.to_thread(answers, path):
        if server.poll() is not None or loop.time() > deadline:
            raise TimeoutError
        await asyncio.sleep(POLL_SECONDS)


def _spawn(command: list[str], lock: int) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that Ctrl-C ends the gateway first."""
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
        pass_fds=(lock,),
        preexec_fn=die_with_parent if on_linux else None,
    )
    if not on_linux:
        _watch_from_outside(server.pid)
    return server


def _watch_from_outside(pid: int) -> None:
    """Watch the parent where the kernel has no parent-death signal: a shell waits until our end of
    a pipe is closed."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, False)
    subprocess.Popen(
        ["/bin/sh", "-c", f"cat >/dev/null; kill {pid} 2>/dev/null"],
        stdin=read_end,
        start_new_session=True,
    )
    os.close(read_end)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
