"""The keeper of one child: starts it, and ensures that nothing it started outlives it.

The keeper is a program of its own, run by its path, with the standard library alone, so that what
it forks holds none of the gateway's memory. Its argument is the file descriptor of a socket. From
there it reads one order, a line of JSON, and answers with an empty line, or with why the child
could not be started. From then on a byte from the socket means: ask the child to end. The end of
the socket, which the gateway's own death causes too, means: kill it. The keeper's exit code is the
child's; 128 and more for a signal.
"""

import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
# Seconds to wait for killed processes: one that lives on for longer hangs in the kernel.
PATIENCE = 10.0
NOT_STARTED = 127


def main() -> int:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _close_others(control.fileno())
    order = json.loads(_read_order(control))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The order, with the child's secrets, is in this process' memory too.
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    folder: str = order["folder"]
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102 (pathlib costs a third of the start)
        if order["uid"] is not None:
            os.chown(folder, order["uid"], order["uid"])
        return _run_child(control, order)
    except OSError as problem:
        _report(control, problem.strerror or "it failed")
        return NOT_STARTED
    finally:
        _kill_descendants()
        _remove(folder)


def _close_others(kept: int) -> None:
    """Close all other descriptors: those that the gateway inherited, and copies of the child's
    pipes. uvloop closes none in the processes that it starts."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 (pathlib costs a third of the start)
        if (descriptor := int(name)) > 2 and descriptor != kept:
            with suppress(OSError):
                os.close(descriptor)


def _read_order(control: socket.socket) -> bytes:
    pieces = bytearray()
    while not pieces.endswith(b"\n"):
        piece = control.recv(65536)
        if not piece:
            sys.exit(NOT_STARTED)
        pieces += piece
    return bytes(pieces)


def _report(control: socket.socket, reason: str) -> None:
    with suppress(OSError):
        control.sendall(f"{reason}\n".encode())


def _run_child(control: socket.socket, order: dict[str, Any]) -> int:
    """Start the child and return its exit code; raise OSError if it cannot be started."""
    asleep, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, _do_nothing)
    signal.set_wakeup_fd(wake)
    child = _start(order)
    # The pipes belong to the child: while they are open here too, their end is not seen.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    _report(control, "")
    try:
        return _wait_for_exit(child, control, asleep)
    finally:
        if sys.platform != "linux":
            # Elsewhere orphans do not become children of the keeper: those that left the process
            # group cannot be found.
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)


def _wait_for_exit(child: int, control: socket.socket, asleep: int) -> int:
    while True:
        readable, _, _ = select.select([control.fileno(), asleep], [], [])
        if asleep in readable:
            os.read(asleep, 4096)
            code = _reap(child)
            if code is not None:
                return code
        if control.fileno() in readable:
            if not _received(control):
                return 128 + signal.SIGKILL
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)


def _received(control: socket.socket) -> bytes:
    try:
        return control.recv(1)
    except OSError:
        return b""


def _reap(child: int) -> int | None:
    """Reap all processes that have ended; return the exit code of `child` if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                found = code if code >= 0 else 128 - code
    return found


def _start(order: dict[str, Any]) -> int:
    """Return the process id of the child once its program runs; raise OSError if that fails."""
    argv: list[str] = order["argv"]
    held = _BlockedSandbox(argv) if order["held"] else None
    parent = os.getpid()
    failed, fails = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _prepare_child(order, parent)
            os.execve(argv[0], argv, order["env"])  # noqa: S606 (there is to be no shell)
        except (OSError, ValueError) as problem:
            os.write(fails, str(getattr(problem, "errno", errno.EINVAL)).encode())
        finally:
            os._exit(NOT_STARTED)
    os.close(fails)
    reason = os.read(failed, 16)
    os.close(failed)
    if reason:
        raise OSError(int(reason), os.strerror(int(reason)))
    if held is not None:
        held.release(order["processes"])
    return child


def _prepare_child(order: dict[str, Any], parent: int) -> None:
    """Prepare this process, which was forked, for the child's program."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if order["covers"]:
        _mount_covers(order["covers"])
    os.umask(0o077)
    for name, most in order["limits"]:
        _set_limit(getattr(resource, name), most)
    uid = order["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if order["no_new_privileges"]:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(NOT_STARTED)
    os.chdir(order["folder"])


def _mount_covers(covers: list[dict[str, Any]]) -> None:
    """In a mount namespace of the child's own, put other directories in place of those that are
    closed to its user: open, and with nothing in them but what it needs. Without the permission to
    make a namespace nothing is changed."""
    if ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return
    os.umask(0o022)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    for cover in covers:
        held = {place: os.open(place, os.O_PATH) for place in cover["places"]}
        _mount("none", cover["folder"], "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
        for place, descriptor in held.items():
            source = f"/proc/self/fd/{descriptor}"
            _make_mount_point(place, is_folder=os.path.isdir(source))  # noqa: PTH112
            _mount(source, place, "", _MS_BIND | _MS_REC)
            os.close(descriptor)
        for path, target in cover["links"]:
            with suppress(FileExistsError):
                os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
                os.symlink(target, path)  # noqa: PTH211
        for path in cover["hidden"]:
            if os.path.isdir(path):  # noqa: PTH112
                _mount("none", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=700,size=1m")
            else:
                _mount(os.devnull, path, "", _MS_BIND)


def _make_mount_point(place: str, *, is_folder: bool) -> None:
    os.makedirs(place if is_folder else os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
    if not is_folder:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (source.encode(), target.encode(), kind.encode())
    if libc.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "a way to it cannot be made")


def _set_limit(number: int, most: int) -> None:
    _, hard = resource.getrlimit(number)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(number, (most, most))


class _BlockedSandbox:
    """A sandbox that waits before it runs its program, so that its number of processes can be
    limited.

    The kernel counts all processes of a user who is not root together, the gateway included; in the
    sandbox, a user namespace, the count begins at zero.
    """

    def __init__(self, argv: list[str]) -> None:
        self._info, info = os.pipe()
        block, self._unblock = os.pipe()
        self._inherited = (info, block)
        for descriptor in self._inherited:
            os.set_inheritable(descriptor, True)
        argv[1:1] = ["--info-fd", str(info), "--block-fd", str(block)]

    def release(self, processes: int) -> None:
        """Limit the sandbox and let it run; raise OSError if it does not come up."""
        for descriptor in self._inherited:
            os.close(descriptor)
        info = b""
        while piece := os.read(self._info, 4096):
            info += piece
        os.close(self._info)
        try:
            first = json.loads(info)["child-pid"]
        except ValueError:
            raise OSError(0, "the sandbox did not come up") from None
        resource.prlimit(first, resource.RLIMIT_NPROC, (processes, processes))
        os.write(self._unblock, b"1")
        os.close(self._unblock)


def _kill_descendants() -> None:
    """Kill all descendants of this process, orphans too: those become its children.

    Zombies are not reaped until nothing lives any more: they count against the limit of processes,
    so that a fork bomb runs out of it.
    """
    deadline = time.monotonic() + PATIENCE
    while _has_children() and (living := _living_descendants()) and time.monotonic() < deadline:
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.002)


def _has_children() -> bool:
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False


def _living_descendants() -> list[int]:
    """Return all descendants of this process that are no zombies."""
    below: dict[int, list[tuple[int, str]]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else ():  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().decode("latin-1").rpartition(")")[2].split()[:2]
                below.setdefault(int(parent), []).append((int(name), state))
    found, todo = [], [os.getpid()]
    while todo:
        for pid, state in below.get(todo.pop(), ()):
            todo.append(pid)
            if state not in "ZX":
                found.append(pid)
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _remove(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106
        return
    # Imported late, since most children leave no files behind.
    import shutil

    # Directories that the child made unreadable are opened first, from the top down.
    for root, names, _ in os.walk(folder):
        for path in (f"{root}/{name}" for name in names):
            with suppress(OSError):
                if not os.path.islink(path):  # noqa: PTH114
                    os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing: the byte that Python writes to the wake-up descriptor is enough."""


if __name__ == "__main__":
    sys.exit(main())
