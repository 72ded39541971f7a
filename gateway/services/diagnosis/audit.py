"""The file for audit records: without them, no credential is used and no key is changed."""

import os
from pathlib import Path

from gateway.services.diagnosis.findings import Finding, Level

_MIB = 1024 * 1024
LITTLE_MIB = 256
_NOTHING_DONE = "nothing that has to be on record is done"


def audit_file_found(path: Path) -> Finding:
    """`path`: the file for audit records, which need not be there yet."""
    place = path if path.exists() else path.parent
    problem = _why_not_writable(path, place)
    if problem:
        return Finding("audit", Level.WRONG, f"{path} {problem}, so {_NOTHING_DONE}.")
    # Pipes and devices are not on the disk of their directory.
    room = _room(place) if place.is_dir() or place.is_file() else LITTLE_MIB
    if room >= LITTLE_MIB:
        return Finding("audit", Level.OK, f"{path} can be written.")
    sentence = f"The disk of {path} has {room} MiB left: once it is full, {_NOTHING_DONE}."
    return Finding("audit", Level.WARN if room else Level.WRONG, sentence)


def _room(place: Path) -> int:
    """MiB that this user may still write."""
    disk = os.statvfs(place)
    return (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize // _MIB


def _why_not_writable(path: Path, place: Path) -> str:
    if path.is_dir():
        return "is a directory"
    if not place.exists():
        return "cannot be made: its directory is missing"
    if not os.access(place, os.W_OK):
        return "cannot be written by this user, or its disk is read-only"
    return ""
