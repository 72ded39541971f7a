"""Tags: a keyed proof beside the hash, so that a wrong secret never costs an argon2 computation.

`<pid>:<fp>:<mac>`: the pepper's id, the hash's fingerprint, and the HMAC of key and hash under the
pepper. The pepper is not in Redis, so access to Redis alone is not enough to make a tag.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256

_TAG = re.compile(r"([0-9a-f]{8}):([0-9a-f]{16}):([0-9a-f]{64})", re.ASCII)
_NO_HASH = ""


class TagVerdict(Enum):
    """What a tag says about a key. Only UNUSABLE leaves the decision to argon2."""

    MATCH = auto()
    MISMATCH = auto()
    UNUSABLE = auto()


def pepper_id(pepper: bytes) -> str:
    """Return the first 8 hex digits of the pepper's SHA-256."""
    return sha256(pepper).hexdigest()[:8]


def is_tag(text: str) -> bool:
    """Whether `text` has the form of a tag, under whatever pepper."""
    return _TAG.fullmatch(text) is not None


def make_tag(pepper: bytes, key_text: str, phc: str) -> str:
    """Return the tag of the whole key `key_text`, whose record holds the hash `phc`."""
    return f"{pepper_id(pepper)}:{_fingerprint(phc)}:{_mac(pepper, key_text, phc)}"


@dataclass(frozen=True, slots=True)
class Peppers:
    """The gateway's peppers, 32 bytes each; the first is the current one, which makes new tags."""

    peppers: tuple[bytes, ...] = field(default=(), repr=False)
    _by_id: Mapping[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {pepper_id(pepper): pepper for pepper in self.peppers}
        object.__setattr__(self, "_by_id", by_id)

    @property
    def has_any(self) -> bool:
        return bool(self.peppers)

    @property
    def ids(self) -> tuple[str, ...]:
        """The public ids of the peppers, the current one first."""
        return tuple(self._by_id)

    def is_known(self, tag: str) -> bool:
        """Whether `tag` is well-formed and made with one of these peppers."""
        return is_tag(tag) and tag[:8] in self._by_id

    def is_current(self, tag: str) -> bool:
        """Whether `tag`, which has matched, is of the current pepper."""
        return tag[:8] == self.ids[0]

    def make(self, key_text: str, phc: str) -> str:
        """Return a tag under the current pepper; empty if there is none."""
        return make_tag(self.peppers[0], key_text, phc) if self.peppers else ""

    def verdict(self, tag: str, key_text: str, phc: str) -> TagVerdict:
        """Return what `tag`, stored beside the hash `phc`, says about `key_text`.

        UNUSABLE: empty, malformed, of an unknown pepper, or of another hash.
        """
        match = _TAG.fullmatch(tag)
        pepper = self._by_id.get(match.group(1)) if match else None
        if match is None or pepper is None or match.group(2) != _fingerprint(phc):
            return TagVerdict.UNUSABLE
        if hmac.compare_digest(match.group(3), _mac(pepper, key_text, phc)):
            return TagVerdict.MATCH
        return TagVerdict.MISMATCH

    def dummy(self, key_text: str) -> None:
        """Do the work of `verdict` for an id without a record, so that the answer takes as long."""
        if self.peppers:
            pid = self.ids[0]
            self.verdict(f"{pid}:{_fingerprint(_NO_HASH)}:{'0' * 64}", key_text, _NO_HASH)


def _fingerprint(phc: str) -> str:
    return sha256(_bytes(phc)).hexdigest()[:16]


def _mac(pepper: bytes, key_text: str, phc: str) -> str:
    return hmac.digest(pepper, _bytes(f"{key_text}\n{phc}"), "sha256").hex()


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
