"""The state directory: private to its owner, with the files that the gateway makes for itself."""

import hashlib
import os
import secrets
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

from gateway.domain.children import UIDS
from gateway.domain.errors import OperationError

PRIVATE = 0o700
KEY_BYTES = 32
# sun_path holds 104 bytes on macOS and 108 on Linux.
LONGEST_SOCKET = 100
# Not TMPDIR: its value differs between a login, a service and sudo.
SHORT = Path("/tmp")  # noqa: S108 (in a directory of ours, mode 0700)
PEPPER, MASTER_KEY = "pepper", "master-key"
STORE, STORE_LOCK, _SOCKET = "store", "store.lock", "store.sock"
# The files that the gateway makes in a state directory, beside those with its children's user ids.
_OWN = frozenset({PEPPER, MASTER_KEY, STORE, STORE_LOCK, _SOCKET})


def prepare(folder: Path, *, follow_links: bool = True) -> Path:
    """Return `folder`, created if missing, with mode 0700, which alone protects its content."""
    try:
        # Where /tmp forbids following the links of other users, even looking through one fails.
        if follow_links or not os.path.lexists(folder):
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        status = folder.stat(follow_symlinks=follow_links)
        if status.st_uid != os.getuid():
            raise OperationError(
                f"The state directory {folder} belongs to another user: choose one of your own "
                "with --state-dir."
            )
        if status.st_mode & 0o077:
            _close_to_others(folder)
    except OSError as problem:
        raise OperationError(
            f"The state directory {folder} cannot be used: {problem.strerror}. Choose another "
            "one with --state-dir."
        ) from None
    return folder


def socket_path(folder: Path) -> Path:
    """Return the path of the store's socket: in `folder`, unless that path is too long for a
    socket.

    It depends only on `folder`, so that every process finds it.
    """
    path = folder / _SOCKET
    if len(os.fsencode(path)) < LONGEST_SOCKET:
        return path
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    # A link that another user has planted belongs to that user, and is refused.
    return prepare(SHORT / f"gateway-{os.getuid()}-{digest}", follow_links=False) / _SOCKET


def _close_to_others(folder: Path) -> None:
    """Set mode 0700, unless others keep files there, whose programs a mistyped path would break."""
    others = {path.name for path in folder.iterdir()} - _OWN
    if not all(name.startswith(UIDS) for name in others):
        raise OperationError(
            f"The state directory {folder} is open to other users and holds files that are not "
            "the gateway's: choose a directory of its own with --state-dir."
        )
    folder.chmod(PRIVATE)


def own_key(folder: Path, name: str) -> str:
    """Return the pepper or master key of this directory, base64, made at first use.

    It is written whole under another name and then linked, so that two concurrent starts share one.
    """
    path = prepare(folder) / name
    try:
        if not path.exists():
            _make_key(path)
        return path.read_text(encoding="ascii").strip()
    except OSError as problem:
        raise OperationError(
            f"The key {path} cannot be kept: {problem.strerror}. Choose another directory with "
            "--state-dir."
        ) from None


def _make_key(path: Path) -> None:
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
