"""Decoding a key's record from Redis' replies."""

from collections.abc import Sequence
from hashlib import sha1

from gateway.domain.keys.record import KeyRecord, field_names, from_fields
from gateway.store.commands import value_or_none

# Without the tags: the gateway writes those by itself as keys are used, which is no change to
# operators.
REVISED = tuple(name for name in field_names() if name not in ("tag", "previous_tag"))


def record_or_none(key_id: str, answer: Sequence[bytes | None] | Exception) -> KeyRecord | None:
    """Return the record; None if there is none, or if the name holds another type."""
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
    """Return a digest of the values of `field_names()`, byte for byte: equal until somebody changes
    the record. `scripts/change.lua` computes the same of the live record."""
    held = dict(zip(field_names(), values, strict=True))
    parts = (held[name] for name in REVISED)
    told = b",".join(b"-" if part is None else b"%d:%s" % (len(part), part) for part in parts)
    return sha1(told, usedforsecurity=False).hexdigest()
