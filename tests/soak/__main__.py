"""`make soak`: a small fleet under all kinds of traffic while all that can change does, and whether
anything grows, leaks, or is decided wrongly. At most SOAK_SECONDS and a minute.

SOAK_SECONDS=600 SOAK_WORKERS=2 SOAK_CALLERS=2 SOAK_LATE_SECONDS=0.05
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import uvloop

from gateway.store.admission import LEASE_SECONDS
from tests.chaos.calls import Call
from tests.chaos.site import Site, missing_tools, setting, site
from tests.soak.backend import Backend
from tests.soak.changes import Changes, prepare
from tests.soak.kinds import KINDS, one
from tests.soak.ledger import Ledger
from tests.soak.stalls import MOST_SECONDS, running, stalls_of
from tests.soak.watch import MEGABYTE, Watch, rows

KEYS = 20
PAUSE = 0.1
WARM_UP = 0.3
# What is not told from noise in less time, and what a day could bear.
JUDGED_FROM = 300.0
MOST_GROWTH = 60 * MEGABYTE
# Connections to the agent that are kept for the next call, of one worker.
KEPT = 40
QUIET_SECONDS = LEASE_SECONDS + 10.0


async def call_on(kind: str, turn: int, base: Sequence[str], ledger: Ledger) -> None:
    """Never ends by itself. Connections are kept and, now and then, made anew."""
    while True:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            for _ in range(100):
                turn += 1
                held = ledger.pick() if kind != "trespasser" else ledger.live[-1]
                began = time.monotonic()
                outcome = await one(kind, session, base[turn % len(base)], held.key.text)
                ledger.judge(kind, held, Call(turn, began, time.monotonic(), outcome))
                await asyncio.sleep(PAUSE)


def traffic(made: Site, ledger: Ledger, callers: int) -> AbstractAsyncContextManager[None]:
    base = ["http://{}:{}".format(*gateway.address) for gateway in made.gateways]
    calls = [call_on(kind, turn, base, ledger) for turn in range(callers) for kind in KINDS]
    return running(*calls)


async def soak(made: Site, backend: Backend, seconds: float) -> list[str]:
    """Print the table; the violations."""
    ledger = Ledger()
    changes, watch = Changes(made, backend, ledger), Watch.of(made)
    for _ in range(KEYS):
        await changes.new_key()
    before = await watch.count_begun_tasks()
    warm = time.monotonic() + seconds * WARM_UP
    calls = traffic(made, ledger, int(setting("SOAK_CALLERS", 2)))
    async with stalls_of(watch.pids) as loops, running(watch.go_on(max(0.5, seconds / 200))):
        async with calls:
            await changes.go_on(seconds)
            most = await watch.count_tasks()
        after, leases = await until_quiet(watch, before)
    watch.take()
    for line in table(watch, warm, ledger, changes):
        print(line)
    print(f"tasks of all workers: {before} before, {most} under load, {after} after")
    print("leases left: {} held by workers, {} kept in Redis".format(*leases))
    print(loops.told())
    judged = violations(watch, warm, ledger, backend, after - before, sum(leases), seconds)
    return [*judged, *loops.violations(setting("SOAK_LATE_SECONDS", MOST_SECONDS))]


async def until_quiet(watch: Watch, tasks: int) -> tuple[int, tuple[int, int]]:
    """Once nobody calls any more everything is given back, or will never be."""
    end = time.monotonic() + QUIET_SECONDS
    while True:
        after, leases = await watch.count_tasks(), await watch.leases()
        if (after <= tasks and not sum(leases)) or time.monotonic() > end:
            return after, leases
        await asyncio.sleep(1.0)


def table(watch: Watch, warm: float, ledger: Ledger, changes: Changes) -> Iterator[str]:
    yield from aligned([*rows(watch.workers, warm)])
    yield ""
    head = ("calls", "sent", "ok", "denied", "key ended", "limited")
    told = [
        (kind, *map(str, (t.sent, t.ok, t.denied, t.ended, t.limited)))
        for kind, t in sorted(ledger.tallies.items())
    ]
    yield from aligned([head, *told])
    yield ""
    yield "done meanwhile: " + listed(changes.done)
    yield f"wrongly admitted: {ledger.wrongly_admitted.total()}  {listed(ledger.wrongly_admitted)}"
    yield f"wrongly refused: {ledger.wrongly_refused.total()}  {listed(ledger.wrongly_refused)}"
    yield f"failed: {ledger.failed.total()}  {listed(ledger.failed)}"


def listed(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()))


def aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def violations(
    watch: Watch,
    warm: float,
    ledger: Ledger,
    backend: Backend,
    tasks: int,
    leases: int,
    seconds: float,
) -> Iterator[str]:
    if ledger.wrongly_admitted:
        yield "requests were wrongly admitted"
    if ledger.wrongly_refused:
        yield "requests were wrongly refused"
    if ledger.unexplained:
        yield f"{ledger.unexplained} requests failed while nothing was wrong"
    if backend.strange:
        yield f"{backend.strange} calls arrived with a credential that nobody set"
    if leases:
        yield f"{leases} leases leaked"
    if tasks > 0:
        yield f"{tasks} tasks leaked"
    for worker in watch.workers:
        left, slope = worker.descriptors[-1] - worker.descriptors[0], worker.slope(warm)
        if left > KEPT:
            yield f"{worker.name}: {left} descriptors leaked"
        if seconds >= JUDGED_FROM and slope > MOST_GROWTH:
            yield f"{worker.name}: memory grew by {slope / MEGABYTE:.0f} MB/h"
    for kind in KINDS:
        if kind not in ledger.tallies:
            yield f"nobody sent {kind}"
    yield from (f"a gateway said: {line}" for line in watch.site.strange())


async def main() -> int:
    seconds, workers = setting("SOAK_SECONDS", 600), int(setting("SOAK_WORKERS", 2))
    backend = Backend()
    with TemporaryDirectory(prefix="soak-") as folder:
        opened = site(
            Path(folder) / "fleet", workers=workers, scale=1.0, agent=backend, prepare=prepare
        )
        async with opened as made:
            print(f"{seconds:.0f} s, 2 gateways of {workers} workers", flush=True)
            found = await soak(made, backend, seconds)
    for violation in found:
        print(f"VIOLATION: {violation}")
    return int(bool(found))


if __name__ == "__main__":
    if reason := missing_tools():
        sys.exit(reason)
    sys.exit(uvloop.run(main()))
