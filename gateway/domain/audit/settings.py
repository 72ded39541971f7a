"""Where audit records go, and for how long they are kept there."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Sync(StrEnum):
    """When a record in a file has to be on the disk: before it counts as written; within a second;
    or when the system sees fit. But for the first, a machine that loses its power loses records of
    what was done."""

    ALWAYS = "always"
    SECOND = "second"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class AuditFileSettings:
    """`size`: of a file, in bytes, beyond which it is rotated; 0: it never is. `keep`: how many
    rotated files stay; 0: all."""

    path: Path
    size: int = 0
    keep: int = 10
    sync: Sync = Sync.ALWAYS


@dataclass(frozen=True, slots=True)
class Retention:
    """What the stream keeps: so many `records`, none older than so many `seconds`; 0: as old as
    they get. Both are give or take: a stream is trimmed by the block."""

    records: int = 200_000
    seconds: float = 0.0

    def gone_before(self, length: int, now: float) -> float:
        """The instant before which records may have been trimmed from a stream of this length."""
        if length >= self.records:
            return math.inf
        return now - self.seconds if self.seconds else -math.inf


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`file` None: records go into Redis' stream alone."""

    file: AuditFileSettings | None = None
    retention: Retention = field(default_factory=Retention)
