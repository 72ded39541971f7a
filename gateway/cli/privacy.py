"""What holds secrets leaves no copy of its memory behind, and lets no other program look in."""

import ctypes
import resource
import sys

_GET_DUMPABLE, _SET_DUMPABLE = 3, 4


def keep_private() -> None:
    """No core dump, whatever ends this process; on Linux its environment and memory are also
    closed to other programs of the same user. Programs that it starts are as they always are."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def is_private() -> bool:
    """Whether the system has done what `keep_private` asked for."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        return False
    return sys.platform != "linux" or not ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0)
