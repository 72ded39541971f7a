"""When the files of a directory may be believed: at once after a rename, else once they rest.

An empty file, and most beginnings of a file, are valid YAML, so a file that is being written must
not be read. A rename or a swap of a symlink is whole by nature; anything else has to rest.
"""

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

from gateway.services.policies import Listing, Stamp

REST_SECONDS = 1.0

Written = Callable[[Path], bool]


class Settling:
    """Told of each listing in turn; says when one that was not tried yet may be loaded."""

    def __init__(self, loaded: Listing, is_written: Written) -> None:
        self._tried = loaded
        self._seen = loaded
        self._since = 0.0
        self._is_written = is_written

    def due(self, listing: Listing, now: float) -> bool:
        """Whether `listing`, as seen at `now` (monotonic seconds), is to be loaded now."""
        if listing != self._seen:
            self._seen, self._since = listing, now
        if listing == self._tried:
            return False
        return now - self._since >= REST_SECONDS or self._replaced(listing)

    def tried(self, listing: Listing) -> None:
        """`listing` was read, for better or worse."""
        self._tried = listing

    def _replaced(self, listing: Listing) -> bool:
        """Whether every difference is a file that took the place of another one, whole."""
        if listing.keys() != self._tried.keys():
            return False
        changed = [name for name in listing if listing[name] != self._tried[name]]
        return all(self._is_whole(self._tried[name], listing[name]) for name in changed)

    def _is_whole(self, before: Stamp | None, after: Stamp | None) -> bool:
        if before is None or after is None:
            return False
        if (before.device, before.inode) == (after.device, after.inode):
            return False
        if before.target != after.target:
            return True
        return not self._is_written(Path(after.target))


def may_be_written(path: Path) -> bool:
    """Whether some process may have `path` open for writing.

    The kernel grants a read lease only where nobody has; where it cannot be asked (another
    system, a file of another user) the answer is yes.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        # A writer that comes now breaks the lease: by default with SIGIO, which would end us.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
