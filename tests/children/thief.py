"""A tool that takes what it can reach: each theft that succeeds is a line of JSON.

Its arguments: the process id of the gateway, that of another user's child, the value of a secret
that both hold, and files to read.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

gateway, other, secret, *files = sys.argv[1:]
taken = []


def attempt(what: str, steal: Callable[[], object]) -> None:
    try:
        found = steal()
    except (OSError, ValueError):
        return
    if found:
        taken.append(what)


def memory(pid: str) -> bool:
    """Whether the secret is found in the memory of `pid`."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb") as mem:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" in line and "[v" not in line:
                mem.seek(start)
                if secret.encode() in mem.read(end - start):
                    return True
    return False


def attach(pid: str) -> bool:
    return ctypes.CDLL(None).ptrace(16, int(pid), 0, 0) == 0


def descriptors(pid: str) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def working_directory(pid: str) -> list[Path]:
    return list(Path(f"/proc/{pid}/cwd").iterdir())


def root(pid: str) -> list[Path]:
    return list(Path(f"/proc/{pid}/root/").iterdir())


def environment(pid: str) -> bool:
    return secret.encode() in Path(f"/proc/{pid}/environ").read_bytes()


def end(pid: str) -> bool:
    os.kill(int(pid), signal.SIGCONT)
    return True


for pid, name in ((gateway, "gateway"), (other, "child")):
    for steal in (environment, memory, attach, descriptors, working_directory, root, end):
        attempt(f"{name}: {steal.__name__}", lambda: steal(pid))  # noqa: B023
for file in map(Path, files):
    attempt(f"read {file}", lambda: file.read_bytes())  # noqa: B023
    attempt(f"list {file}", lambda: list(file.iterdir()))  # noqa: B023
for home in Path.cwd().parent.glob("gateway-tool-*"):
    if home != Path.cwd():
        attempt(f"home {home}", lambda: list(home.iterdir()))  # noqa: B023
for entry in Path("/proc").glob("[0-9]*"):
    if entry.name != str(os.getpid()):
        attempt(f"environment of {entry}", lambda: environment(entry.name))  # noqa: B023
print(json.dumps(taken))
