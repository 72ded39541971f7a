"""Commands in processes of their own, each forked off one that has imported the gateway: to start
Python and to import it anew took most of the time of a command, and a quarter of all tests'.

`run` is for tests; as a program this module is the process that forks.
"""

import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, NoReturn

import gateway

SECONDS = 60
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
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(_forker()[1])
            streams = (stdin, stdout or out, err)
            socket.send_fds(asking, [b"\0"], [one.fileno() for one in streams])
            asking.sendall(json.dumps([[*arguments], str(folder), {**environment}]).encode())
            asking.shutdown(socket.SHUT_WR)
            code = int(asking.recv(16))
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


@cache
def _forker() -> tuple[subprocess.Popen[bytes], str]:
    """The process that forks, and where it is asked. It ends with this one, with which its stdin
    ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def _serve() -> None:
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # Who was forked to answer somebody is nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}/s")
        listening.listen(64)
        print(f"{place}/s", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _answer(asked)
            asked.close()


def _answer(asked: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(asked, 1, 3)
    with asked.makefile("rb") as told:
        arguments, folder, environment = json.load(told)
    command = os.fork()
    if command == 0:
        asked.close()
        _become(arguments, folder, environment, streams)
    _, status = os.waitpid(command, 0)
    with suppress(BrokenPipeError):
        asked.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]
) -> NoReturn:
    """`gateway ARGUMENTS`, as it is started in `folder`."""
    code: object = 1
    try:
        signal.alarm(SECONDS)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout = _text(0, "r"), _text(1, "w")
        sys.stderr = _text(2, "w", errors="backslashreplace")
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["gateway", *arguments]
        import_module("gateway.cli.main").run()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python ends a program, but for what was inherited
        traceback.print_exc()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def _text(number: int, mode: str, errors: str = "strict") -> TextIOWrapper:
    return open(number, mode, encoding="utf-8", errors=errors, closefd=False)


if __name__ == "__main__":
    _serve()
