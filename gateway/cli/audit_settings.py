"""Where audit records go and how long they stay, as the environment says; and which are shown."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.cli.options import parsed, seconds_of
from gateway.domain.audit.settings import AuditFileSettings, AuditSettings, Retention, Sync
from gateway.domain.errors import UsageError
from gateway.domain.units import count, size

T = TypeVar("T")

# Smaller files would be rotated with nearly every write.
SMALLEST_FILE = 64 * 1024


def read_audit() -> AuditSettings:
    """UsageError where one cannot be what it is set to."""
    kept = Retention()
    records = _read("GATEWAY_AUDIT_RECORDS", kept.records, count)
    if records < 1:
        raise UsageError("GATEWAY_AUDIT_RECORDS is at least 1.")
    age = seconds_of("GATEWAY_AUDIT_AGE", kept.seconds)
    return AuditSettings(_read_file(), Retention(records, age))


def operators_file() -> AuditFileSettings | None:
    """Where the acts of a command go. It leaves rotation to the gateway, whose user owns the
    file."""
    path = _path()
    return None if path is None else AuditFileSettings(path)


def _read_file() -> AuditFileSettings | None:
    path = _path()
    if path is None:
        return None
    longest = _read("GATEWAY_AUDIT_FILE_SIZE", 0, size)
    if 0 < longest < SMALLEST_FILE:
        raise UsageError("GATEWAY_AUDIT_FILE_SIZE is 0, for never, or at least 64KiB.")
    return AuditFileSettings(
        path,
        longest,
        _read("GATEWAY_AUDIT_FILE_KEEP", 10, count),
        _read("GATEWAY_AUDIT_FILE_SYNC", Sync.ALWAYS, _sync),
    )


def _path() -> Path | None:
    text = os.environ.get("GATEWAY_AUDIT_FILE")
    return Path(text) if text else None


def _read(name: str, default: T, parse: Callable[[str], T]) -> T:
    text = os.environ.get(name)
    return parsed(name, parse, text) if text else default


def _sync(text: str) -> Sync:
    try:
        return Sync(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Sync)}") from None
