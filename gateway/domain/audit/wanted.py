"""Filters for audit records."""

from collections.abc import Mapping
from typing import Any

from gateway.domain.audit.record import read

# The filter names that readers use, and the record fields that they mean.
FILTERS = {
    "event": "event",
    "key": "key_id",
    "consumer": "consumer",
    "agent": "agent",
    "user": "user",
    "actor": "actor",
    "decision": "decision",
}
DECISIONS = ("allowed", "denied", "shadow")
# Suffix of an event filter that matches every event with this first word.
_ANY = ".*"

Record = dict[str, Any]
Wanted = Mapping[str, str]


def wanted_by(given: Mapping[str, str]) -> Wanted:
    """Return the filters by record field, without the empty ones."""
    return {FILTERS[name]: value for name, value in given.items() if value}


def matching(text: str, wanted: Wanted) -> Record | None:
    """Return the record in `text` if it passes all filters, else None."""
    record = read(text)
    if record is None:
        return None
    return record if all(_says(record, *one) for one in wanted.items()) else None


def _says(record: Record, name: str, wanted: str) -> bool:
    told = record.get(name)
    if name == "event" and wanted.endswith(_ANY):
        return isinstance(told, str) and told.startswith(wanted.removesuffix("*"))
    return bool(told == wanted)
