"""What holds secrets leaves no copy of its memory behind, and lets no other program look in."""

import ctypes
import os
import resource
import sys

_GET_DUMPABLE, _SET_DUMPABLE = 3, 4


def keep_private() -> None:
    """No core dump, whatever ends this process; on Linux its environment and memory are also
    closed to other programs of the same user. Programs that it starts are as they always are."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def keep_no_tls_keys() -> None:
    """Python's own TLS writes the keys of every connection, so all that is sent on it, to a file
    that the environment names. To be called before anything makes a TLS context."""
    os.environ.pop("SSLKEYLOGFILE", None)


def is_private() -> bool:
    """Whether the system has done what `keep_private` asked for."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        return False
    return sys.platform != "linux" or not ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0)
