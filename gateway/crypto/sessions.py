"""Ids of sessions, of events in them, and of tasks, sealed: an id opens for whom it was made, and
for nobody else it is one.

So no worker has to remember whose a session is, and the id that a tool server gave is not shown.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_INFO = b"agent-credential-gateway tool sessions"
_TASKS_INFO = b"agent-credential-gateway tool tasks"
_NONCE = 12
# JSON may have halves of characters in it.
_ANY = "utf-8", "surrogatepass"
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a session is: of which key at which server, on behalf of whom. `user` empty: nobody.
    `within`: what is sealed is no session but something in one."""

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


class SessionSeal:
    """`secrets`: 32 bytes each, which all workers have; the first one seals, any of them opens."""

    def __init__(
        self, secrets: Iterable[bytes], draw: Callable[[int], bytes] = token_bytes
    ) -> None:
        secrets = tuple(secrets)
        self._keys = [AESGCM(_derived(secret, _INFO, 32)) for secret in secrets]
        self._task_keys = [AESSIV(_derived(secret, _TASKS_INFO, 64)) for secret in secrets]
        self._draw = draw

    def seal(self, session: str, owner: Owner) -> str:
        """What the caller is given in place of `session`: letters, digits, `-` and `_`."""
        nonce = self._draw(_NONCE)
        sealed = nonce + self._keys[0].encrypt(nonce, session.encode("latin-1"), owner.bound)
        return _spelled(sealed)

    def open(self, sealed: str, owner: Owner) -> str | None:
        """The session that was sealed for `owner`; None where there is none."""
        raw = _read(sealed)
        if len(raw) <= _NONCE:
            return None
        for key in self._keys:
            try:
                return key.decrypt(raw[:_NONCE], raw[_NONCE:], owner.bound).decode("latin-1")
            except InvalidTag:
                continue
        return None

    def seal_task(self, task: str, owner: Owner) -> str:
        """As `seal`, and the same each time: callers compare the ids of tasks."""
        return _spelled(self._task_keys[0].encrypt(task.encode(*_ANY), [owner.bound]))

    def open_task(self, sealed: str, owner: Owner) -> str | None:
        """The task that was sealed for `owner`; None where there is none."""
        raw = _read(sealed)
        for key in self._task_keys:
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


def _derived(secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)
