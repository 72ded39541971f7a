"""Key records in transit between gateways, checked as strictly as what an operator sets."""

import re
from dataclasses import dataclass, replace

from gateway.domain.errors import UsageError
from gateway.domain.keys.fields import LONGEST_LABEL, KeyFields
from gateway.domain.keys.key import ENVS, contains_key, is_id
from gateway.domain.keys.record import KeyRecord, unix_time, words

_STATUS = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)
_LAST4 = re.compile(r"([0-9A-Za-z]{4})?", re.ASCII)
_TIMES = ("expires_at", "previous_expires_at", "created_at", "rotated_at", "revoked_at")


@dataclass(frozen=True, slots=True)
class KeyCopy:
    """`removed_at`: the Unix second at which Redis deletes the record by itself (EXPIRE)."""

    record: KeyRecord
    removed_at: int | None = None


def check_fields(record: KeyRecord) -> None:
    """Raise UsageError for the first field that is not valid, without repeating a value that may be
    secret. Hashes and tags are not checked here."""
    if not is_id(record.id):
        raise UsageError("The id is not 12 letters and digits.")
    _as_an_operator_sets_them(record).values()
    for name in _TIMES:
        if getattr(record, name) and unix_time(getattr(record, name)) is None:
            raise UsageError(f"{name} is not a Unix time in seconds.")
    if not _STATUS.fullmatch(record.status):
        raise UsageError("The status is not one word, such as 'active'.")
    if record.env and record.env not in ENVS:
        raise UsageError("env is neither 'live' nor 'test'.")
    if not _LAST4.fullmatch(record.last4):
        raise UsageError("last4 is not 4 letters and digits.")
    _check_author(record.created_by)


def _as_an_operator_sets_them(record: KeyRecord) -> KeyFields:
    fields = KeyFields(
        consumer=record.consumer,
        plan=record.plan,
        limits=record.limits,
        users=words(record.users),
        label=record.label,
    )
    # An empty list is how an operator takes all scopes from a key by hand.
    scopes = words(record.scopes)
    return replace(fields, scopes=scopes) if scopes else fields


def _check_author(text: str) -> None:
    if len(text) > LONGEST_LABEL or not text.isprintable() or contains_key(text):
        raise UsageError(f"created_by is not at most {LONGEST_LABEL} printable characters.")
