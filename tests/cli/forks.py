"""Commands in processes of their own, each forked off one that has imported the gateway: to start
Python and to import it anew took most of the time of a command, and a quarter of all tests'.

`run` and `start` are for tests; as a program this module is the process that forks.
"""

import asyncio
import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, NoReturn

import gateway
from tests.cli.asking import ask

SHARED = "TESTS_FORK_AT"
REPOSITORY = Path(__file__).parents[2]


def run(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    given: bytes,
    stdout: IO[bytes] | None = None,
) -> tuple[int, bytes, bytes]:
    """How `gateway …` ended, its stdout and its stderr. `given`: its stdin. `stdout`: where that
    goes instead."""
    with TemporaryFile() as stdin, TemporaryFile() as out, TemporaryFile() as err:
        stdin.write(given)
        stdin.seek(0)
        streams = (stdin.fileno(), (stdout or out).fileno(), err.fileno())
        with ask(place(), streams, [*arguments], str(folder), {**environment}) as asked:
            _, code = asked.makefile("rb")
        out.seek(0)
        err.seek(0)
        return int(code), out.read(), err.read()


@dataclass
class Forked:
    """A command that runs: tests speak to it as to a process of asyncio's."""

    pid: int
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    ended: asyncio.Task[int]

    @property
    def returncode(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    def send_signal(self, number: int) -> None:
        # It may have ended, and that not been told yet.
        with suppress(ProcessLookupError):
            if not self.ended.done():
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err


async def start(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    stdin: str = os.devnull,
) -> Forked:
    """Start `gateway …`. `stdin`: the file that it reads."""
    given = os.open(stdin, os.O_RDONLY | os.O_NOCTTY)
    stdout, out = os.pipe()
    stderr, err = os.pipe()
    streams = (given, out, err)
    asked = ask(place(), streams, [*arguments], str(folder), {**environment}, seconds=0)
    for ours in streams:
        os.close(ours)
    told, telling = await asyncio.open_unix_connection(sock=asked)
    pid = int(await told.readline())

    async def until_it_ended() -> int:
        code = int(await told.readline())
        telling.close()
        await telling.wait_closed()
        return code

    ended = asyncio.create_task(until_it_ended())
    return Forked(pid, await _reader(stdout), await _reader(stderr), ended)


class _Pipe(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        """Close it, as asyncio does with the pipes of its own processes."""
        super().eof_received()
        return False


async def _reader(pipe: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    file = os.fdopen(pipe, "rb")
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Pipe(reader), file)
    return reader


@cache
def place() -> str:
    """Where the process that forks is asked: the one of all workers, or else one of our own."""
    return os.environ.get(SHARED) or _started()


def share() -> None:
    """Start one for all workers of the tests, which inherit the environment."""
    os.environ[SHARED] = _started()


def _started() -> str:
    """It ends with its stdin: with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(process.__exit__, None, None, None)
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def _serve() -> None:
    # Who was forked to answer somebody is nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/s")
        listening.listen(64)
        print(f"{folder}/s", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            _import_all()
            if os.fork() == 0:
                listening.close()
                _answer(asked)
            asked.close()


@cache
def _import_all() -> None:
    """Once somebody asks, since many runs of a few tests never do."""
    import_no_grammars()
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # What is never looked at again is not copied for each command either.
    gc.collect()
    gc.freeze()


def import_no_grammars() -> None:
    """jsonschema would build 38 of them, for addresses in all scripts: 1.5 s of each process. What
    makes the bill of materials brings their package along; no gateway is installed with it."""
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


def _answer(asked: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    with asked.makefile("rb") as told:
        arguments, folder, environment, seconds = json.load(told)
    command = os.fork()
    if command == 0:
        asked.close()
        signal.alarm(seconds)
        _become(arguments, folder, environment, streams)
    for stream in streams:
        os.close(stream)
    with suppress(BrokenPipeError):
        asked.sendall(b"%d\n" % command)
    _, status = os.waitpid(command, 0)
    with suppress(BrokenPipeError):
        asked.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]
) -> NoReturn:
    """`gateway ARGUMENTS`, as it is started in `folder`."""
    code: object = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout = _text(0, "r"), _text(1, "w")
        sys.stderr = _text(2, "w", errors="backslashreplace", buffering=1)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        sys.argv = [str(Path(gateway.__path__[0], "__main__.py")), *arguments]
        # With these a gateway starts its workers.
        sys.orig_argv = [sys.executable, "-m", "gateway", *arguments]
        import_module("gateway.cli.main").run()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python ends a program, but for what was inherited
        traceback.print_exc()
    # As at any program's end.
    threading._shutdown()  # type: ignore[attr-defined]
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def _text(number: int, mode: str, errors: str = "strict", buffering: int = -1) -> TextIOWrapper:
    return open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)


if __name__ == "__main__":
    _serve()
