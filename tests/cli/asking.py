"""Asks the process that `tests.cli.forks` starts to run a command.

As a program, for shells: `python -IS asking.py PLACE ARGUMENTS…` is `gateway ARGUMENTS…`. It
imports little, so as to start fast.
"""

import json
import os
import socket
import sys

SECONDS = 60


def ask(
    place: str,
    streams: tuple[int, int, int],
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    seconds: int = SECONDS,
) -> socket.socket:
    """Where a new process is told of: a line with its id, and one with its exit code once it has
    ended. `streams`: its standard ones. `seconds`: how long it may run; 0: as long as it likes."""
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(place)
    socket.send_fds(asking, [b"\0"], streams)
    asking.sendall(json.dumps([arguments, folder, environment, seconds]).encode())
    asking.shutdown(socket.SHUT_WR)
    return asking


if __name__ == "__main__":
    here = os.getcwd()  # noqa: PTH109 (pathlib takes longer to import than all of this)
    with ask(sys.argv[1], (0, 1, 2), sys.argv[2:], here, {**os.environ}) as asked:
        _, code = asked.makefile("rb")
    sys.exit(int(code))
