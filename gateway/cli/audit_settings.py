"""Where audit records are written and how long they are kept, as the environment says."""

from pathlib import Path

from gateway.cli.options import from_environment
from gateway.domain.audit.settings import AuditFileSettings, AuditSettings, Fsync, Retention
from gateway.domain.errors import UsageError
from gateway.domain.units import count, duration, size

# A smaller file would be rotated at nearly every write.
SMALLEST_FILE = 64 * 1024


def read_audit() -> AuditSettings:
    """Read the audit settings; UsageError names a variable with an invalid value."""
    kept = Retention()
    records = from_environment("GATEWAY_AUDIT_RECORDS", kept.records, count)
    if records < 1:
        raise UsageError("GATEWAY_AUDIT_RECORDS must be at least 1.")
    age = from_environment("GATEWAY_AUDIT_AGE", kept.seconds, duration)
    return AuditSettings(_read_file(), Retention(records, age))


def operators_file() -> AuditFileSettings | None:
    """Return the file for the acts of a command. Only the gateway, whose user owns the file,
    rotates it."""
    path = _path()
    return None if path is None else AuditFileSettings(path)


def _read_file() -> AuditFileSettings | None:
    path = _path()
    if path is None:
        return None
    longest = from_environment("GATEWAY_AUDIT_FILE_SIZE", 0, size)
    if 0 < longest < SMALLEST_FILE:
        raise UsageError("GATEWAY_AUDIT_FILE_SIZE must be 0 (never rotate) or at least 64KiB.")
    return AuditFileSettings(
        path,
        longest,
        from_environment("GATEWAY_AUDIT_FILE_KEEP", 10, count),
        from_environment("GATEWAY_AUDIT_FILE_SYNC", Fsync.ALWAYS, _sync),
    )


def _path() -> Path | None:
    return from_environment("GATEWAY_AUDIT_FILE", None, Path)


def _sync(text: str) -> Fsync:
    try:
        return Fsync(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Fsync)}") from None
