"""When changed files may be read: at once after a rename, otherwise once they are quiet.

An empty file, and most beginnings of a file, are valid YAML. A file that is still being written
must not be read: an agent whose routes are yet to come would be open at every path. A rename, or a
swap of a symlink, is complete by nature. After any other change the files have to stay unchanged
for a while, and nobody may have one of them open.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

from gateway.services.policies.directory import Listing, Stamp

QUIET_SECONDS = 1.0
# Writers may pause; an editor may keep a file open as long as it runs.
LONGEST_WAIT = 30.0

# Whether somebody may be writing to a file now; None if that cannot be told.
Written = Callable[[Path], bool | None]


class Debounce:
    """Gets each listing in turn, and tells when one that was not tried yet may be read."""

    def __init__(self, loaded: Listing, is_open: Written) -> None:
        self._tried = loaded
        self._seen = loaded
        self._since = 0.0
        self._is_open = is_open

    def due(self, listing: Listing, now: float) -> bool:
        """Whether to read `listing`, as seen at `now` (monotonic seconds), now."""
        if listing != self._seen:
            self._seen, self._since = listing, now
        if listing == self._tried:
            return False
        quiet = now - self._since
        if quiet >= QUIET_SECONDS and (
            quiet >= LONGEST_WAIT or not self._is_being_written(listing)
        ):
            return True
        return self._replaced(listing)

    def note_tried(self, listing: Listing) -> None:
        """Note that `listing` was read, whether it was valid or not."""
        self._tried = listing

    def has_tried(self, listing: Listing) -> bool:
        """Whether nothing has changed since."""
        return listing == self._tried

    def _is_being_written(self, listing: Listing) -> bool:
        """Whether somebody has a changed file open for writing."""
        changed = (after for name, after in listing.items() if after != self._tried.get(name))
        return any(after is not None and self._is_open(Path(after.target)) for after in changed)

    def _replaced(self, listing: Listing) -> bool:
        """Whether every difference is a file that was replaced as a whole."""
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
        return self._is_open(Path(after.target)) is False


def is_open_for_writing(path: Path) -> bool | None:
    """Whether some process has `path` open for writing.

    The kernel grants a read lease only if no process has. None if it cannot be asked (another
    system, a file of another user).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A writer that comes now breaks the lease: by default with SIGIO, which would end this
        # process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as problem:
        return True if problem.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False
