"""The state directory: private to its owner, and home of what the gateway makes for itself."""

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
# Not the environment's: what it says differs between a login, a service and sudo.
SHORT = Path("/tmp")  # noqa: S108 (in a directory of ours, mode 0700)
# What the gateway makes in a state directory, beside its children's user ids.
OWN = frozenset({"pepper", "master-key", "store", "store.lock", "store.sock"})
PEPPER, MASTER_KEY = "pepper", "master-key"


def prepare(folder: Path, *, follow_links: bool = True) -> Path:
    """`folder`, made if it is missing, with mode 0700: it is the only guard of what is in it."""
    try:
        # Where links of others are not followed in /tmp, looking through one is an error by itself.
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
    """Where the store's socket is: in `folder`, or where its path is short enough to be one.

    The latter depends on nothing but `folder`, so that every process finds it.
    """
    path = folder / "store.sock"
    if len(os.fsencode(path)) < LONGEST_SOCKET:
        return path
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]
    # A link that somebody else has put there belongs to them.
    return prepare(SHORT / f"gateway-{os.getuid()}-{digest}", follow_links=False) / "store.sock"


def _close_to_others(folder: Path) -> None:
    """Not where others have files: their programs would fail for a typing mistake here."""
    others = {path.name for path in folder.iterdir()} - OWN
    if not all(name.startswith(UIDS) for name in others):
        raise OperationError(
            f"The state directory {folder} is open to other users and holds files that are not "
            "the gateway's: choose a directory of its own with --state-dir."
        )
    folder.chmod(PRIVATE)


def own_key(folder: Path, name: str) -> str:
    """The pepper or master key of this directory, base64, made at first use.

    Written whole under another name and linked, so that two starts at once share one.
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
