"""Where audit records are written, and how long they are kept."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Fsync(StrEnum):
    """When a record must be on the disk: before it counts as written, within a second, or whenever
    the system writes it. With all but the first, a power failure can lose records of acts that were
    done."""

    ALWAYS = "always"
    SECOND = "second"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class AuditFileSettings:
    """`size`: bytes beyond which the file is rotated; 0: never. `keep`: how many rotated files are
    kept; 0: all of them."""

    path: Path
    size: int = 0
    keep: int = 10
    sync: Fsync = Fsync.ALWAYS


@dataclass(frozen=True, slots=True)
class Retention:
    """What the stream keeps: at most `records` records, none older than `seconds`; 0: no limit of
    age. Both limits are approximate, because Redis trims a stream in blocks."""

    records: int = 200_000
    seconds: float = 0.0

    def gone_before(self, length: int, now: float) -> float:
        """Return the time before which a stream of this length may have been trimmed."""
        if length >= self.records:
            return math.inf
        return now - self.seconds if self.seconds else -math.inf


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`file` None: records are written to the Redis stream only."""

    file: AuditFileSettings | None = None
    retention: Retention = field(default_factory=Retention)
