"""What a serving process tells of itself, for whoever looks after all of them."""

from dataclasses import dataclass

from gateway.domain.units import counted

# Beyond so many a core they only wait for each other.
_OF_USE_A_CORE = 4
# Allowed on any machine: what is of no use need not do harm.
_ANYWHERE = 64


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """`started_at`: in Unix seconds. `revision`: of its policies. `listen`: its data listener."""

    host: str
    pid: int
    version: str
    started_at: int
    revision: str
    listen: str


def most_workers(cores: int) -> int:
    """So many processes may be asked for on a machine of `cores`."""
    return max(_ANYWHERE, _OF_USE_A_CORE * cores)


def crowding(workers: int, cores: int) -> str:
    """Why so many are too many for a machine of `cores`, and what to do; empty: they are not."""
    if workers <= _OF_USE_A_CORE * cores:
        return ""
    return (
        f"{workers} workers on {counted(cores, 'core')} wait for each other, and each takes some "
        "100 MB: lower --workers (GATEWAY_WORKERS) to one or two a core."
    )
