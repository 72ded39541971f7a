"""Ids of sessions, of events in them, and of tasks, sealed: an id opens for whom it was made, and
for nobody else it is one.

So no worker has to remember whose a session is, and the id that a tool server gave is not shown.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_INFO = b"agent-credential-gateway tool sessions"
# JSON may have halves of characters in it.
_ANY = "utf-8", "surrogatepass"
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a session is: of which key at which server, on behalf of whom. `user` empty: nobody.
    `within`: what is sealed is no session but an event or a task."""

    place: str
    key_id: str
    user: str
    within: str = ""

    @property
    def bound(self) -> bytes:
        """None of them holds a line feed."""
        within = (self.within,) if self.within else ()
        return "\n".join((self.place, self.key_id, self.user, *within)).encode()

    @property
    def events(self) -> "Owner":
        """The same, of events."""
        return replace(self, within="event")

    @property
    def tasks(self) -> "Owner":
        """The same, of tasks."""
        return replace(self, within="task")


class SessionSeal:
    """`secrets`: 32 bytes each, which all workers have; the first one seals, any of them opens."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._keys = [AESSIV(_derived(secret)) for secret in secrets]

    def seal(self, own: str, owner: Owner) -> str:
        """What the caller is given in place of `own`: letters, digits, `-` and `_`. The same each
        time, because callers compare ids (RFC 5297: that an id came again is all that it tells)."""
        return _spelled(self._keys[0].encrypt(own.encode(*_ANY), [owner.bound]))

    def open(self, sealed: str, owner: Owner) -> str | None:
        """What was sealed for `owner`; None where there is none."""
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
    """Empty where nothing can have been sealed so."""
    try:
        return (
            urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)) if len(sealed) <= LONGEST else b""
        )
    except ValueError:
        return b""


def _derived(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=64, salt=None, info=_INFO).derive(secret)
