"""By how much the event loops of workers were late, and what of it was the machine's doing: what a
process that runs nothing saw too, and what the loop's thread waited for a core."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

# What a loop may be late by its own doing.
MOST_SECONDS = 0.05
# Of what a thread waited, that counts which was meanwhile.
EVERY_SECONDS = 0.05
METRIC = "gateway_loop_lag_seconds"
CONTROL = Path(__file__).with_name("control.py")

# When the control should have woken (monotonic), and by how much later it did.
Pause = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What a worker has counted until `at` (monotonic). `late`: beats later than MOST_SECONDS;
    `lag`: of all beats; `waited`: its main thread, for a core."""

    at: float
    beats: int
    late: int
    lag: float
    waited: float


@dataclass(frozen=True)
class Stall:
    """A beat was late by `lag` seconds, for which the machine had cause for `machine` at most."""

    lag: float
    machine: float

    @property
    def own(self) -> float:
        return max(0.0, self.lag - self.machine)


@dataclass
class Stalls:
    """`looks`: at each worker, by its process id. `control`: the id of that process."""

    control: int
    looks: dict[int, list[Look]]
    pauses: list[Pause] = field(default_factory=list)

    async def go_on(self) -> None:
        """Never ends by itself."""
        files = {pid: _counted_in(pid) for pid in self.looks}
        while True:
            for pid, looks in self.looks.items():
                looks.append(_look(pid, files[pid]))
            await asyncio.sleep(EVERY_SECONDS)

    @property
    def found(self) -> list[Stall]:
        return [stall for looks in self.looks.values() for stall in stalls(looks, self.pauses)]

    def told(self) -> str:
        """One line for the table."""
        beats = sum(looks[-1].beats - looks[0].beats for looks in self.looks.values())
        found = self.found
        line = f"event loops: {beats} beats, {len(found)} late by more than {_ms(MOST_SECONDS)}"
        return f"{line}, the worst {_told(max(found, key=_by_own))}" if found else line

    def violations(self, most: float = MOST_SECONDS) -> Iterator[str]:
        for one in self.found:
            if one.own > most:
                yield f"an event loop was late {_told(one)}"


def stalls(looks: Sequence[Look], pauses: Sequence[Pause]) -> Iterator[Stall]:
    """All that can be laid to the machine is."""
    for before, after in pairwise(looks):
        if after.late == before.late:
            continue
        lag = after.lag - before.lag
        began = before.at - lag
        since = next((look for look in reversed(looks) if look.at <= began), looks[0])
        paused = sum(late for due, late in pauses if due < after.at and since.at < due + late)
        yield Stall(lag, after.waited - since.waited + paused)


@asynccontextmanager
async def stalls_of(pids: Sequence[int]) -> AsyncIterator[Stalls]:
    """With a control that listens to the machine meanwhile."""
    pipe = asyncio.subprocess.PIPE
    control = await asyncio.create_subprocess_exec(
        sys.executable, str(CONTROL), stdin=pipe, stdout=pipe
    )
    made = Stalls(control.pid, {pid: [] for pid in pids})
    try:
        async with running(made.go_on(), _hear(control, made.pauses)):
            yield made
    finally:
        control.kill()
        await control.wait()


@asynccontextmanager
async def running(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Work that never ends by itself; that it failed is told at the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for problem in ended:
            if not isinstance(problem, asyncio.CancelledError):
                raise problem  # type: ignore[misc]


async def _hear(control: asyncio.subprocess.Process, pauses: list[Pause]) -> None:
    assert control.stdout is not None
    async for line in control.stdout:
        due, late = line.split()
        pauses.append((float(due), float(late)))


def _counted_in(pid: int) -> str:
    """Where a worker counts: /metrics has the sum of all, and how late each was is of interest."""
    rows = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return next(row.split(maxsplit=5)[5] for row in rows if "/histogram_" in row)


def _look(pid: int, counted_in: str) -> Look:
    beats, late, lag = 0, 0, 0.0
    for key, value, *_ in MmapedDict.read_all_values_from_file(counted_in):
        metric, name, labels, _ = json.loads(key)
        if metric != METRIC:
            continue
        if name == f"{METRIC}_sum":
            lag = value
        else:
            beats += int(value)
            late += int(value) if float(labels["le"]) > MOST_SECONDS else 0
    waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return Look(time.monotonic(), beats, late, lag, waited)


def _by_own(stall: Stall) -> float:
    return stall.own


def _told(stall: Stall) -> str:
    return f"by {_ms(stall.lag)} (the machine's doing: at most {_ms(stall.machine)})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
