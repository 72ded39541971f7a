"""A file that gives no answer, as on a share whose server is away."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Whoever opens `path` waits: the kernel holds them up until the lease is given back, for 45 s
    at most."""
    held = os.open(path, os.O_RDWR)
    try:
        # Told of those who wait by SIGIO, this process would end.
        fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(held)
