"""What a serving process tells of itself, for whoever looks after all of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """`started_at`: in Unix seconds. `revision`: of its policies. `listen`: its data listener."""

    host: str
    pid: int
    version: str
    started_at: int
    revision: str
    listen: str
