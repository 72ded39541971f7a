"""The machine: its cores, the CPU time and memory of a process, a description."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = ("aiohttp", "uvloop", "hiredis", "redis")


@dataclass(frozen=True, slots=True)
class Cores:
    """`measured`: for the process under test; `others`: for everything else. None: not enough
    cores."""

    measured: frozenset[int] | None
    others: frozenset[int] | None


def cores() -> Cores:
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        return Cores(None, None)
    return Cores(frozenset(found[:1]), frozenset(found[1:]))


def pin(wanted: frozenset[int] | None) -> None:
    """Bind this process, and all processes that it starts from now on, to these cores."""
    if wanted is not None:
        os.sched_setaffinity(0, wanted)


def cpu_seconds(pid: int) -> float:
    """The user and system time of a process and its descendants, including those that ended."""
    return sum(one.seconds for one in _family(pid))


def resident_bytes(pid: int) -> int:
    """The memory of a process and its descendants; shared pages count for each."""
    return sum(one.pages for one in _family(pid)) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Process:
    seconds: float
    pages: int


def _family(pid: int) -> Iterator[_Process]:
    children: dict[int, list[int]] = {}
    processes: dict[int, _Process] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name in parentheses may contain anything; the fields after it are fixed.
        fields = text.rpartition(")")[2].split()
        number = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(number)
        own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
        seconds = max(own / TICKS, _by_scheduler(stat.parent)) + ended / TICKS
        processes[number] = _Process(seconds, int(fields[21]))
    found = [pid]
    while found:
        number = found.pop()
        if number in processes:
            yield processes[number]
        found += children.get(number, [])


def _by_scheduler(process: Path) -> float:
    """The CPU time of a process's current threads, with a much finer resolution than its ticks."""
    nanoseconds = 0
    for thread in process.glob("task/*/schedstat"):
        try:
            nanoseconds += int(thread.read_text().split()[0])
        except (OSError, IndexError):
            continue
    return nanoseconds / 1e9


@dataclass(frozen=True, slots=True)
class Stolen:
    """CPU time that the host gave to other machines, and the total, since the start."""

    ticks: int
    total: int


def stolen() -> Stolen:
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return Stolen(int(fields[7]), sum(map(int, fields[:8])))


def stolen_since(before: Stolen) -> float:
    """The share of the CPU time since `before` that the host gave to other machines."""
    now = stolen()
    return (now.ticks - before.ticks) / max(1, now.total - before.total)


def describe(engine: str) -> list[str]:
    """Describe this machine, for readers of the figures."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{os.cpu_count()} cores ({model}), Linux {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}, {packages}, {engine}",
    ]
