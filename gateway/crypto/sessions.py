"""Sealed ids of MCP sessions, of their events, and of tasks: an id opens only for its owner.

So no worker has to remember whose a session is, and the tool server's own id is not shown.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_INFO = b"agent-credential-gateway tool sessions"
# JSON strings may hold lone surrogates.
_ANY = "utf-8", "surrogatepass"
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a session: which key at which server, on behalf of whom. `user` empty: nobody.
    `within`: the sealed id is that of an event or a task instead of a session."""

    place: str
    key_id: str
    user: str
    within: str = ""

    @property
    def bound(self) -> bytes:
        """The associated data. None of the parts holds a line feed."""
        within = (self.within,) if self.within else ()
        return "\n".join((self.place, self.key_id, self.user, *within)).encode()

    @property
    def events(self) -> "Owner":
        """The same owner, for ids of events."""
        return replace(self, within="event")

    @property
    def tasks(self) -> "Owner":
        """The same owner, for ids of tasks."""
        return replace(self, within="task")


class SessionSeal:
    """`secrets`: 32 bytes each, shared by all workers; the first one seals, any of them opens."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._keys = [AESSIV(_derived(secret)) for secret in secrets]

    def seal(self, own: str, owner: Owner) -> str:
        """Return the id that the caller gets in place of `own`: letters, digits, `-` and `_`. It is
        the same each time, because callers compare ids. RFC 5297: that an id was repeated is all
        that it reveals."""
        return _spelled(self._keys[0].encrypt(own.encode(*_ANY), [owner.bound]))

    def open(self, sealed: str, owner: Owner) -> str | None:
        """Return what was sealed for `owner`; None if `sealed` is not valid for it."""
        raw = _read(sealed)
        for key in self._keys:
            try:
                return key.decrypt(raw, [owner.bound]).decode(*_ANY)
            except InvalidTag:
                continue
        return None


def _spelled(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


def _read(sealed: str) -> bytes:
    """Return the sealed bytes; empty if `sealed` cannot be one of our ids."""
    try:
        return (
            urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)) if len(sealed) <= LONGEST else b""
        )
    except ValueError:
        return b""


def _derived(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=64, salt=None, info=_INFO).derive(secret)
