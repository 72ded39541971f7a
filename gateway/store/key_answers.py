"""A key's record as Redis tells it."""

from collections.abc import Sequence
from hashlib import sha1

from gateway.domain.keys.record import KeyRecord, field_names, from_fields
from gateway.store.commands import value_or_none

# The gateway writes tags by itself as keys are used: for operators nothing changes then.
REVISED = tuple(name for name in field_names() if name not in ("tag", "previous_tag"))


def record_or_none(key_id: str, answer: Sequence[bytes | None] | Exception) -> KeyRecord | None:
    """None where there is no record, or something that is none."""
    values = value_or_none(answer)
    return None if values is None else read_record(key_id, values)


def read_record(key_id: str, values: Sequence[bytes | None]) -> KeyRecord | None:
    texts = {
        name: value.decode(errors="replace")
        for name, value in zip(field_names(), values, strict=True)
        if value is not None
    }
    return from_fields(key_id, texts) if texts else None


def revision_of(values: Sequence[bytes | None]) -> str:
    """What the fields of `field_names()` come to, byte for byte: equal as long as nobody changes
    the record. `scripts/change.lua` makes the same of the live one."""
    held = dict(zip(field_names(), values, strict=True))
    parts = (held[name] for name in REVISED)
    told = b",".join(b"-" if part is None else b"%d:%s" % (len(part), part) for part in parts)
    return sha1(told, usedforsecurity=False).hexdigest()
