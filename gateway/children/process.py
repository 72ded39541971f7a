"""A child process with its pipes, seen from the gateway, and what starts it."""

import asyncio
import errno
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from gateway.children import keeper
from gateway.children.covers import covers, needed
from gateway.children.sandbox import find_bubblewrap, is_visible, with_rotated, wrapped
from gateway.children.uids import Uids
from gateway.domain.children import ChildSettings, Isolation, Program
from gateway.domain.errors import OperationError

# What the event loop opens to start a process, and some for threads that open files meanwhile.
FILES = 16
_LANG = "C.UTF-8"


class Child:
    """A running program. Its exit code is 128 and more if a signal ended it."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 (they are pipes)
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = process.stderr
        self._process = process
        self._control = control

    def terminate(self) -> None:
        """Ask the program to end."""
        with suppress(OSError):
            self._control.send(b"T")

    def kill(self) -> None:
        """Kill the program, and all that it has started."""
        self._control.close()

    async def discard(self) -> None:
        """Read stdout to its end and drop it."""
        while await self.stdout.read(2**16):
            pass

    async def wait(self) -> int:
        """Return the exit code once the program, all that it has started, and its directory are
        gone. Its pipes have to be read to their ends meanwhile."""
        try:
            code = await self._process.wait()
        finally:
            # Also if the wait was cancelled: nothing is left running, no descriptor is left open.
            self._control.close()
            self.stdin.close()
        return code


class Launcher:
    """Starts programs. `isolation`: how they are isolated; None: not known yet, nothing starts."""

    def __init__(self, settings: ChildSettings, isolation: Isolation | None = None) -> None:
        self.isolation = isolation
        self._hidden = settings.hidden
        self._uids = Uids(settings.state_dir, settings.uids) if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Raise OperationError if the file of user ids, which isolates programs, cannot be kept."""
        if self.isolation is not Isolation.NONE and self._uids is not None:
            self._uids.prepare()

    async def start(self, program: Program) -> Child:
        """Return the child once it runs; raise OperationError, which quotes no values, if it cannot
        be started."""
        try:
            return await self._start(program)
        except OSError as problem:
            raise OperationError(f"No process can be started: {problem.strerror}.") from None

    async def _start(self, program: Program) -> Child:
        # In a thread: the first program of an owner writes to the file of user ids.
        order = await asyncio.to_thread(self._order, program)
        control, theirs = socket.socketpair()
        control.setblocking(False)
        try:
            with theirs:
                process = await _keeper(theirs, program.longest_line)
        except BaseException:
            control.close()
            raise
        child = Child(process, control)
        try:
            reason = await _handed_over(control, order)
        except BaseException:
            child.kill()
            await child.wait()
            raise
        if reason:
            await child.wait()
            why = f"{reason}{self._closed_by(reason, order['argv'][0])}"
            raise OperationError(f"{program.argv[0]} cannot be started: {why}.")
        return child

    def _closed_by(self, reason: str, path: str) -> str:
        """Return what closes the program to its user, as a sentence to follow `reason`; empty if
        that is not why."""
        if self.isolation is not Isolation.UID or reason != os.strerror(errno.EACCES):
            return ""
        for end in (Path(path), Path(path).resolve()):
            for step in (end, *end.parents):
                if not step.stat().st_mode & 0o001:
                    return (
                        f". It runs as a user of its own, and {step} is closed to others: put it "
                        "where everybody may read it"
                    )
        return ""

    def _order(self, program: Program) -> dict[str, Any]:
        """Return the order for the keeper."""
        if self.isolation is None:
            raise OperationError("Programs are not kept apart here, so that none is started.")
        path = _found(program)
        own = (one for one in needed(path, program.named) if not is_visible(Path(one), ()))
        readable = (*own, *program.readable)
        folder = str(Path(tempfile.gettempdir()) / f"gateway-tool-{secrets.token_hex(8)}")
        argv = [str(path), *program.argv[1:]]
        apart = self.isolation is not Isolation.NONE
        uid = self._uids.of(program.owner) if apart and self._uids else None
        sandboxed = self.isolation is Isolation.BUBBLEWRAP
        if sandboxed:
            bubblewrap = find_bubblewrap() or "bwrap"
            argv = wrapped(bubblewrap, argv, folder, readable, self._hidden)
        counted = uid is not None
        return {
            "argv": argv,
            "env": _environment(program, folder),
            "folder": folder,
            "uid": uid,
            "covers": [] if uid is None else self._covers((*readable, folder)),
            "limits": _limits(program, counted=counted),
            # Bubblewrap sets this by itself, and may need the privileges to come up.
            "no_new_privileges": not sandboxed,
            "held": sandboxed and not counted,
            "processes": program.limits.processes,
        }

    def _covers(self, places: tuple[str, ...]) -> list[dict[str, Any]]:
        hidden = [str(one) for path in self._hidden for one in with_rotated(path.resolve())]
        return [
            {
                "folder": cover.folder,
                "links": sorted(cover.links.items()),
                "places": sorted(cover.places),
                "hidden": [one for one in hidden if cover.holds(one)],
            }
            for cover in covers(places)
        ]


def _found(program: Program) -> Path:
    name = program.argv[0]
    found = shutil.which(name)
    if found is None:
        raise OperationError(f"{name} cannot be started: there is no such program.")
    return Path(found).absolute()


def _environment(program: Program, folder: str) -> dict[str, str]:
    own = {"PATH": os.environ.get("PATH", os.defpath), "LANG": _LANG}
    for name, value in program.env.items():
        if "\0" in name + value or "=" in name:
            raise OperationError(f"What is meant for the variable {name!r} cannot be put into one.")
    return {**own, **program.env, "HOME": folder, "TMPDIR": folder, "PWD": folder}


def _limits(program: Program, *, counted: bool) -> list[tuple[str, int]]:
    """Return the rlimits by name. `counted`: the kernel counts its processes apart from others."""
    most = program.limits
    found = [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_DATA", most.memory),
        ("RLIMIT_NOFILE", most.files),
        ("RLIMIT_FSIZE", most.file_size),
    ]
    if most.cpu is not None:
        found.append(("RLIMIT_CPU", most.cpu))
    if counted:
        found.append(("RLIMIT_NPROC", most.processes))
    return found


async def _keeper(control: socket.socket, longest_line: int) -> asyncio.subprocess.Process:
    """Start a keeper: in a session of its own, since Ctrl-C is for the gateway alone, and without
    the gateway's environment."""
    _check_files()
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", keeper.__file__, str(control.fileno())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=longest_line,
        pass_fds=(control.fileno(),),
        start_new_session=True,
        env={},
    )


def _check_files() -> None:
    """Raise OSError if there are not enough files for a process: uvloop closes none of those that
    it has opened for one when they run out halfway."""
    with ExitStack() as opened:
        for _ in range(FILES // 2):
            for end in os.pipe():
                opened.callback(os.close, end)


async def _handed_over(control: socket.socket, order: dict[str, Any]) -> str:
    """Send the keeper its order; return why the child could not be started, empty if it runs."""
    loop = asyncio.get_running_loop()
    line = b""
    try:
        await loop.sock_sendall(control, json.dumps(order).encode() + b"\n")
        while not line.endswith(b"\n"):
            piece = await loop.sock_recv(control, 256)
            if not piece:
                return "its keeper has ended"
            line += piece
    except ConnectionError:
        return "its keeper has ended"
    return line.decode().strip()
