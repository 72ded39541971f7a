"""Audit records in a file, one per line, and in the files that it was rotated into."""

import errno
import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO

from gateway.domain.audit.settings import AuditFileSettings, Fsync
from gateway.domain.errors import StoreError

OWNER_ONLY = 0o600
_ROTATED = re.compile(r"\.\d{9}")


class AuditFile:
    """Several processes may write to it, each a chain of its own. Each write is whole, and goes to
    the file that is at the path at that time, so a file that was moved away is created anew.

    `on_trouble` is told why a file could not be rotated, or why records could not be synced later.
    Neither makes a record invalid.
    """

    def __init__(
        self,
        settings: AuditFileSettings,
        on_trouble: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._path = settings.path
        self._size = settings.size
        self._keep = settings.keep
        self._sync = settings.sync
        self._on_trouble = on_trouble
        self._said = False
        # By inode: a file may be rotated away before its records are on the disk.
        self._unsynced: dict[int, int] = {}
        self._lock = threading.Lock()

    def append(self, records: Sequence[bytes]) -> None:
        """Write the records; StoreError if they cannot be written whole."""
        data = b"".join(b"%b\n" % record for record in records)
        try:
            descriptor = self._open_with_room(len(data))
            try:
                if _is_torn(descriptor):
                    data = b"\n" + data
                if os.write(descriptor, data) < len(data):
                    raise StoreError(f"{self._path}: only a part of a record could be written.")
                self._bring_to_disk(descriptor)
            finally:
                os.close(descriptor)
        except OSError as problem:
            raise StoreError(f"{self._path} cannot be written: {problem.strerror}.") from None

    def sync(self) -> None:
        """Fsync to the disk what was written since the last call."""
        with self._lock:
            unsynced, self._unsynced = self._unsynced, {}
        for descriptor in unsynced.values():
            try:
                try:
                    _to_disk(descriptor)
                finally:
                    # On a network file system this can fail, too.
                    os.close(descriptor)
            except OSError as problem:
                reason = problem.strerror
                self._on_trouble(f"{self._path} could not be brought to the disk: {reason}.")

    def _open(self) -> int:
        # Opening a pipe without a reader must fail instead of waiting.
        flags = os.O_RDWR if _is_regular(self._path) else os.O_WRONLY
        flags |= os.O_APPEND | os.O_NONBLOCK
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            made = os.open(self._path, flags | os.O_CREAT, OWNER_ONLY)
        if self._sync is not Fsync.NEVER:
            # A file whose directory entry is not on the disk is lost in a power failure.
            self._bring_directory_to_disk(made)
        return made

    def _bring_directory_to_disk(self, made: int) -> None:
        try:
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                _to_disk(directory)
            finally:
                os.close(directory)
        except OSError:
            os.close(made)
            raise

    def _open_with_room(self, needed: int) -> int:
        descriptor = self._open()
        found = os.fstat(descriptor)
        full = 0 < self._size < found.st_size + needed and found.st_size > 0
        if not full or not stat.S_ISREG(found.st_mode):
            return descriptor
        try:
            rotated = self._rotate(descriptor)
            self._said = False
        except OSError as problem:
            # The record matters more than the size of its file.
            if not self._said:
                self._said = True
                self._on_trouble(f"{self._path} could not be rotated: {problem.strerror}.")
            return descriptor
        if not rotated:
            return descriptor
        os.close(descriptor)
        return self._open()

    def _rotate(self, descriptor: int) -> bool:
        """Rotate the file, unless another process does; whether the path has a new file."""
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(self._path.stat(), os.fstat(descriptor)):
                return True
            old = rotated(self._path)
            number = int(old[-1].suffix[1:]) + 1 if old else 1
            self._path.rename(f"{self._path}.{number:09d}")
            # One more file was made just now.
            for one in old[: max(0, len(old) + 1 - self._keep)] if self._keep else ():
                one.unlink(missing_ok=True)
            return True
        return False

    def _bring_to_disk(self, descriptor: int) -> None:
        if self._sync is Fsync.ALWAYS:
            _to_disk(descriptor)
        elif self._sync is Fsync.SECOND:
            inode = os.fstat(descriptor).st_ino
            with self._lock:
                if inode not in self._unsynced:
                    self._unsynced[inode] = os.dup(descriptor)


def rotated(path: Path) -> list[Path]:
    """Return the files that `path` was rotated into, oldest first."""
    there = path.parent.iterdir() if path.parent.exists() else ()
    names = (one.name for one in there if one.name.startswith(path.name))
    found = [name for name in names if _ROTATED.fullmatch(name.removeprefix(path.name))]
    return [path.parent / name for name in sorted(found)]


def is_whole(path: Path) -> bool:
    """Whether the oldest of these files is the first that was ever written, judging by its name."""
    oldest = next(iter(rotated(path)), path)
    return not _ROTATED.fullmatch(oldest.suffix) or int(oldest.suffix[1:]) == 1


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each record's place and text, oldest file first; StoreError if one is unreadable."""
    try:
        with ExitStack() as stack:
            # A file that is rotated during this loop is already open, so it is read exactly once.
            newest = stack.enter_context(_text(path)) if path.exists() else None
            older = [one for one in rotated(path) if newest is None or not _is_open_as(newest, one)]
            for one in older:
                yield from _numbered(stack.enter_context(_text(one)), f"{one.name} line")
            if newest is None and not older:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            if newest is not None:
                yield from _numbered(newest, f"{path.name} line" if older else "line")
    except OSError as problem:
        place = problem.filename or path
        raise StoreError(f"{place} cannot be read: {problem.strerror}.") from None


def _numbered(lines: TextIO, place: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        # A writer that saw another's unfinished write starts a new line, so this line may be empty.
        if line != "\n":
            yield f"{place} {number}", line.rstrip("\n")


def _is_open_as(file: TextIO, path: Path) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())


def _text(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _is_torn(descriptor: int) -> bool:
    """Whether the last line has no line end: the disk was full, or a writer was killed."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return False
    return os.pread(descriptor, 1, found.st_size - 1) != b"\n"


def _to_disk(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as problem:
        # A pipe or a device stores nothing, so there is nothing to sync.
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
