"""A key's record as Redis holds it: every field a string, every judgement a pure function."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

from gateway.domain.keys.key import masked

ACTIVE = "active"
REVOKED = "revoked"
# A decoy key that was given to nobody: whoever uses it found or stole it.
CANARY = "canary"
DISABLED = "disabled"

# Fields that are written even when empty, so that HSET by hand prints 0 for an existing key.
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
        """The consumer, for logs, the audit and agents. It is masked, because an operator who
        writes by hand may have pasted the key itself."""
        return masked(self.consumer)


@cache
def field_names() -> tuple[str, ...]:
    """Return the names of the hash fields, in the order of declaration."""
    return tuple(f.name for f in fields(KeyRecord) if f.name != "id")


def from_fields(key_id: str, values: Mapping[str, str]) -> KeyRecord:
    """Return a record made of the hash's fields, without those that this version does not know."""
    return KeyRecord(key_id, **{name: values.get(name, "") for name in field_names()})


def unix_time(text: str) -> int | None:
    """Return whole Unix seconds, or None if `text` is anything else."""
    return int(text) if _UNIX.fullmatch(text) else None


def words(text: str) -> tuple[str, ...]:
    """Split a field at blanks only. An item with a tab or line end in it stays whole, is invalid,
    and so grants nothing."""
    return tuple(filter(None, text.split(" ")))


def is_user_id(text: str) -> bool:
    """Whether `text` may name a user. A key is put there by mistake, and would be recorded."""
    return _USER.fullmatch(text) is not None and masked(text) == text


def well_formed(text: str) -> str:
    """Return `text`, which may hold any bytes, with question marks for what is not UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
