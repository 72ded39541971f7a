"""Programs that the tests run as children, and what can be seen of them from outside."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.children.isolation import find_isolation
from gateway.children.process import Launcher
from gateway.domain.children import ChildSettings, Isolation, Program
from gateway.domain.errors import OperationError
from tests.needed import missing

REPOSITORY = Path(__file__).parents[2]
ORDINARY = 65_534


def python() -> str:
    """An interpreter that every user may run, in the sandbox too."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    return found or missing("no python3 in /usr/bin or /usr/local/bin, which children may run")


def needs(isolation: Isolation) -> None:
    """Skips where this machine, or this user, cannot have it."""
    if isolation is Isolation.UID and os.geteuid() != 0:
        pytest.skip("only root can give a child a user id of its own")
    try:
        find_isolation(isolation)
    except OperationError as problem:
        missing(str(problem))


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def run(launcher: Launcher, *argv: str, owner: str = "fc\0u1", **more: object) -> Ended:
    """`argv` from start to end. `more`: as in Program."""
    child = await launcher.start(Program(argv, owner, **more))  # type: ignore[arg-type]
    out, err = await asyncio.gather(child.stdout.read(), child.stderr.read())
    return Ended(await child.wait(), out.decode(), err.decode())


def launcher_of(isolation: Isolation, folder: Path, **settings: object) -> Launcher:
    given = ChildSettings(state_dir=folder / "state", **settings)  # type: ignore[arg-type]
    return Launcher(given, isolation)


def processes(mark: str) -> dict[int, bytes]:
    """The processes whose command line holds `mark`, with that line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found[int(entry.name)] = line
    return found


def as_ordinary_user() -> None:
    """For a new process: from now on it is nobody's, if it was root's."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
