"""What a worker process reports about itself, and how many workers a machine can use."""

from dataclasses import dataclass

from gateway.domain.units import counted

# More workers per core only wait for each other.
_OF_USE_A_CORE = 4
# Allowed on any machine: too many are useless, but need not do harm.
_ANYWHERE = 64


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """`started_at`: Unix seconds. `revision`: of its policies. `listen`: its data listener."""

    host: str
    pid: int
    version: str
    started_at: int
    revision: str
    listen: str


def most_workers(cores: int) -> int:
    """Return how many workers may be configured on a machine with this many cores."""
    return max(_ANYWHERE, _OF_USE_A_CORE * cores)


def crowding(workers: int, cores: int) -> str:
    """Return why so many workers are too many for so many cores, and what to do; else empty."""
    if workers <= _OF_USE_A_CORE * cores:
        return ""
    return (
        f"{workers} workers on {counted(cores, 'core')} wait for each other, and each takes some "
        "100 MB: lower --workers (GATEWAY_WORKERS) to one or two a core."
    )
