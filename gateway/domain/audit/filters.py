"""Filters for audit records."""

from collections.abc import Mapping
from typing import Any

from gateway.domain.audit.events import ANY
from gateway.domain.audit.record import ALLOWED, DENIED, SHADOW, read

# The filter names that readers use, and the record fields that they mean.
FILTERS = {
    "event": "event",
    "key": "key_id",
    "consumer": "consumer",
    "agent": "agent",
    "credential": "credentials",
    "user": "user",
    "actor": "actor",
    "decision": "decision",
}
DECISIONS = (ALLOWED, DENIED, SHADOW)

Record = dict[str, Any]
Filters = Mapping[str, str]


def filters_of(given: Mapping[str, str]) -> Filters:
    """Return the filters by record field, without the empty ones."""
    return {FILTERS[name]: value for name, value in given.items() if value}


def matching(text: str, filters: Filters) -> Record | None:
    """Return the record in `text` if it passes all filters, else None."""
    record = read(text)
    if record is None:
        return None
    return record if all(_passes(record, *one) for one in filters.items()) else None


def _passes(record: Record, field: str, value: str) -> bool:
    found = record.get(field)
    if field == "event" and value.endswith(ANY):
        return isinstance(found, str) and found.startswith(value.removesuffix("*"))
    if field == "credentials":
        # Anybody may have written to the stream.
        used = found if isinstance(found, list) else []
        return any(isinstance(one, dict) and value in _spelled(one) for one in used)
    return bool(found == value)


def _spelled(used: Record) -> tuple[Any, str]:
    """Return the ways to name a credential: every version of it, or this one as tables show it."""
    name = used.get("name")
    return name, f"{name}@{used.get('version')}"
