"""The grammar of inbound keys: `agk_<env>_<id>_<secret><check>`.

`id` is public: it names the Redis record and appears in logs. `secret` is 32 base62 characters,
about 190 bits. `check` is the CRC-32 of all that precedes it, so that a mistyped or invented key is
refused here, without Redis and without argon2.
"""

import re
import zlib
from dataclasses import dataclass, field
from typing import Literal, cast

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 12
SECRET_LENGTH = 32
CHECK_LENGTH = 6
KEY_PREFIX = "agk_"

Env = Literal["live", "test"]
ENVS: tuple[Env, ...] = ("live", "test")

_GRAMMAR = r"agk_(live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]{38}"
_KEY = re.compile(_GRAMMAR, re.ASCII)
_ID = re.compile(r"[0-9A-Za-z]{12}", re.ASCII)
# A lookahead, so that matches may overlap: an invalid key must not hide a valid one.
_ANYWHERE = re.compile(rf"(?=({_GRAMMAR}))", re.ASCII)
# Looser than the grammar: a mistyped key still holds most of its secret.
_KEYLIKE = re.compile(r"agk_(live|test)_([0-9A-Za-z]{12})_[0-9A-Za-z]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """A whole key, as its caller holds it. `text` is kept out of every repr."""

    id: str
    env: Env
    text: str = field(repr=False)

    @property
    def last4(self) -> str:
        return self.text[-4:]

    def __str__(self) -> str:
        return f"agk_{self.env}_{self.id}_…{self.last4}"


def checksum(body: str) -> str:
    """Return the six base62 digits of the CRC-32 of `body`, most significant first, zero-padded."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECK_LENGTH):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def parse(text: str) -> Key | None:
    """Return the key in `text`, or None if its shape or its check is wrong."""
    match = _KEY.fullmatch(text)
    if match is None or checksum(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        return None
    return Key(match.group(2), cast(Env, match.group(1)), text)


def compose(env: Env, key_id: str, secret: str) -> Key:
    """Return the key with these parts; the caller draws `key_id` and `secret` at random."""
    body = f"{KEY_PREFIX}{env}_{key_id}_{secret}"
    return Key(key_id, env, body + checksum(body))


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def contains_key(text: str) -> bool:
    """Whether a well-formed key stands anywhere in `text`, such as a URL or a cookie."""
    return KEY_PREFIX in text and any(parse(m.group(1)) for m in _ANYWHERE.finditer(text))


def masked(text: str) -> str:
    """Return `text` with the secret part of everything that looks like a key replaced by `…`."""
    return _KEYLIKE.sub(r"agk_\1_\2_…", text)
