"""A key's record, as Redis holds it: every field a string, every judgement a pure function."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

from gateway.domain.keys.key import masked

ACTIVE = "active"
REVOKED = "revoked"
# A decoy: nobody was given it, so whoever uses it found or took it.
CANARY = "canary"
DISABLED = "disabled"

# Fields that are written even when empty, so that HSET by hand prints 0 for a key that is there.
ALWAYS_WRITTEN = (
    "status",
    "consumer",
    "label",
    "scopes",
    "plan",
    "limits",
    "users",
    "expires_at",
)

_UNIX = re.compile(r"\d{1,12}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9._@-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """`gw:key:{<id>}`. A field that Redis does not hold is the empty string."""

    id: str
    hash: str = ""
    tag: str = ""
    status: str = ""
    consumer: str = ""
    label: str = ""
    scopes: str = ""
    plan: str = ""
    limits: str = ""
    users: str = ""
    expires_at: str = ""
    previous_hash: str = ""
    previous_tag: str = ""
    previous_expires_at: str = ""
    created_at: str = ""
    created_by: str = ""
    rotated_at: str = ""
    revoked_at: str = ""
    env: str = ""
    last4: str = ""

    def __repr__(self) -> str:
        # Hashes and tags stay out of logs and tracebacks.
        return f"KeyRecord(id={self.id!r}, status={self.status!r})"

    @property
    def told_consumer(self) -> str:
        """Whose key it is, for logs, the audit and agents: whoever writes by hand may have pasted
        the key itself."""
        return masked(self.consumer)


@cache
def field_names() -> tuple[str, ...]:
    """The names of the hash fields, in the order in which they are declared."""
    return tuple(f.name for f in fields(KeyRecord) if f.name != "id")


def from_fields(key_id: str, values: Mapping[str, str]) -> KeyRecord:
    """A record from the hash's fields; those that this version does not know are left out."""
    return KeyRecord(key_id, **{name: values.get(name, "") for name in field_names()})


def unix_time(text: str) -> int | None:
    """Whole Unix seconds, or None where `text` is not that."""
    return int(text) if _UNIX.fullmatch(text) else None


def words(text: str) -> tuple[str, ...]:
    """What a field lists, parted by blanks and by nothing else: an item with a tab or a line's end
    in it is none, and so grants nothing."""
    return tuple(filter(None, text.split(" ")))


def is_user_id(text: str) -> bool:
    return _USER.fullmatch(text) is not None


def well_formed(text: str) -> str:
    """`text` of a record that may hold any bytes, as it can be written elsewhere: what is no UTF-8
    becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
