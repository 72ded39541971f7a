"""Processes that hold secrets: no copy of their memory on disk, no other program reads it."""

import ctypes
import os
import resource
import sys

_GET_DUMPABLE, _SET_DUMPABLE = 3, 4


def keep_private() -> None:
    """Prevent core dumps of this process. On Linux, also close its environment and memory to other
    programs of the same user. Its child processes are not affected."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def disable_tls_key_log() -> None:
    """Keep Python from writing TLS session keys to the file that SSLKEYLOGFILE names: with them,
    all traffic can be decrypted. Must be called before anything makes a TLS context."""
    os.environ.pop("SSLKEYLOGFILE", None)


def is_private() -> bool:
    """Whether `keep_private` has taken effect."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        return False
    return sys.platform != "linux" or not ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0)
