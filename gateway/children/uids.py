"""A Unix user id for each owner of programs: the same in every worker and after a restart."""

import fcntl
import hashlib
import os
import secrets
from pathlib import Path

from gateway.domain.children import UIDS
from gateway.domain.errors import OperationError

# Far above the ids of people, services and containers, and within 31 bits.
LOWEST, HIGHEST, BLOCK = 2**29, 2**31 - 2**19, 2**18
_LENGTH = 64


class Uids:
    """Assigns user ids, and keeps them in a file in `directory`. Its lines have one length: the
    first id, then the owners' digests in the order of their ids. An id is never given to another
    owner, who could read what the first one left behind, in /tmp for instance.

    `span`: the first and the last id; None: a block of 262,144, drawn once at random.
    """

    def __init__(self, directory: Path, span: tuple[int, int] | None) -> None:
        self._path = directory / (UIDS if span is None else f"{UIDS}-{span[0]}")
        self._span = span
        self._known: dict[str, int] = {}
        self._read = 0
        self._first = 0

    def of(self, owner: str) -> int:
        """Return the id of `owner`; raise OperationError if all are taken, or the file fails."""
        digest = hashlib.sha256(owner.encode()).hexdigest()
        if digest not in self._known:
            self._open(digest)
        return self._known[digest]

    def prepare(self) -> None:
        """Raise OperationError if the file cannot be kept."""
        self._open(None)

    def _open(self, digest: str | None) -> None:
        try:
            self._look_up(digest)
        except OSError as problem:
            raise OperationError(
                f"User ids for tools cannot be kept in {self._path}: {problem.strerror}."
            ) from None

    def _look_up(self, digest: str | None) -> None:
        """Read what other workers have added, and add `digest` if it is missing."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # A crash may have left part of a line, whose id was never used.
            size = os.fstat(descriptor).st_size // (_LENGTH + 1) * (_LENGTH + 1)
            file.truncate(size)
            if not size:
                first = LOWEST + secrets.randbelow((HIGHEST - LOWEST) // BLOCK) * BLOCK
                size = self._append(descriptor, f"{self._span[0] if self._span else first:064d}")
            file.seek(self._read)
            for line in file.read(size - self._read).splitlines():
                self._take(line.decode())
            if digest is not None and digest not in self._known:
                self._check_room()
                self._append(descriptor, digest)
                self._take(digest)

    def _append(self, descriptor: int, text: str) -> int:
        os.write(descriptor, f"{text}\n".encode())
        os.fsync(descriptor)
        return _LENGTH + 1

    def _take(self, line: str) -> None:
        if self._read == 0:
            self._first = int(line)
        else:
            self._known[line] = self._first + len(self._known)
        self._read += _LENGTH + 1

    def _check_room(self) -> None:
        last = self._span[1] if self._span else self._first + BLOCK - 1
        if self._first + len(self._known) > last:
            raise OperationError(
                f"All user ids from {self._first} to {last} are given to tools and their users: "
                "give a wider range with --tool-uids."
            )
