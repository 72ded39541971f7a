"""Where audit records go and how long they stay, as the environment says; and which are shown."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.cli.options import add_options, parsed, seconds_of
from gateway.domain.audit.settings import AuditFileSettings, AuditSettings, Retention, Sync
from gateway.domain.audit.wanted import DECISIONS, FILTERS, wanted_by
from gateway.domain.errors import UsageError
from gateway.domain.units import count, size

T = TypeVar("T")

# Smaller files would be rotated with nearly every write.
SMALLEST_FILE = 64 * 1024


_FILTERS = (
    click.option("--event", metavar="EVENT", help="Only key.revoke, or all of credential.*"),
    click.option("--key", metavar="ID", help="Only of this key."),
    click.option("--consumer", metavar="NAME", help="Only of this consumer's keys."),
    click.option("--agent", metavar="NAME", help="Only about this agent, models/NAME …"),
    click.option("--user", metavar="ID", help="Only for this user."),
    click.option("--actor", metavar="WHO", help="Only what this operator did."),
    click.option("--decision", type=click.Choice(DECISIONS), help="Only what was decided so."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command` as `wanted` what records have to say, for all of these that are given."""

    @wraps(command)
    def filled(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) or "" for name in FILTERS}
        return command(*args, wanted=wanted_by(given), **options)

    return add_options(filled, *_FILTERS)


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
