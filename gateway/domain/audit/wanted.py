"""Finding audit records by what they say."""

from collections.abc import Mapping
from typing import Any

from gateway.domain.audit.record import read

# What a reader names, and the name that records have for it.
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
# Behind the first word of an event: all that begin with it.
_ANY = ".*"

Record = dict[str, Any]
Wanted = Mapping[str, str]


def wanted_by(given: Mapping[str, str]) -> Wanted:
    """By the names in the records; what is empty is not asked for."""
    return {FILTERS[name]: value for name, value in given.items() if value}


def matching(text: str, wanted: Wanted) -> Record | None:
    """The record, if it is one and says all of that."""
    record = read(text)
    if record is None:
        return None
    return record if all(_says(record, *one) for one in wanted.items()) else None


def _says(record: Record, name: str, wanted: str) -> bool:
    told = record.get(name)
    if name == "event" and wanted.endswith(_ANY):
        return isinstance(told, str) and told.startswith(wanted.removesuffix("*"))
    return bool(told == wanted)
