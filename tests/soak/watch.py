"""What each worker holds, while it serves: memory, descriptors, tasks."""

import asyncio
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.memory import resident
from gateway.services.telemetry.gauges import SAMPLE_SECONDS
from tests.chaos.site import Gateway, Site

MEGABYTE = 2**20


@dataclass
class Samples:
    """Of one worker, in the order of `times` (monotonic)."""

    name: str
    pid: int
    times: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self) -> None:
        self.memory.append(resident(self.pid))
        self.descriptors.append(len(os.listdir(f"/proc/{self.pid}/fd")))  # noqa: PTH208
        self.times.append(time.monotonic())

    def slope(self, since: float) -> float:
        """Bytes an hour, by least squares over what was taken after `since`."""
        both = [(t, m) for t, m in zip(self.times, self.memory, strict=True) if t >= since]
        if len(both) < 3:
            return 0.0
        middle = sum(t for t, _ in both) / len(both)
        mean = sum(m for _, m in both) / len(both)
        spread = sum((t - middle) ** 2 for t, _ in both)
        return 3600 * sum((t - middle) * (m - mean) for t, m in both) / spread


@dataclass
class Watch:
    """`tasks`: of all workers together, by their metrics, each time they were counted."""

    site: Site
    workers: list[Samples]
    tasks: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, site: Site) -> "Watch":
        found = [
            Samples(f"gateway {number}, worker {seat}", pid)
            for number, gateway in enumerate(site.gateways, 1)
            for seat, pid in enumerate(gateway.pids, 1)
        ]
        return cls(site, found)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers]

    async def go_on(self, every: float) -> None:
        while True:
            self.take()
            await asyncio.sleep(every)

    def take(self) -> None:
        for worker in self.workers:
            worker.take()

    async def count_tasks(self) -> int:
        """Once each worker is counted: what others tell comes a moment after a scrape."""
        while len(told := await values(self.site.gateways, "gateway_tasks")) < len(self.workers):
            await asyncio.sleep(0.1)
        self.tasks.append(int(sum(told)))
        return self.tasks[-1]

    async def count_begun_tasks(self) -> int:
        """Once all that runs for good has begun: a worker tells of none before its first count, and
        of too few at that one."""
        before, counted = 0, await self.count_tasks()
        while counted > before:
            await asyncio.sleep(2 * SAMPLE_SECONDS)
            before, counted = counted, await self.count_tasks()
        return before

    async def leases(self) -> tuple[int, int]:
        """Held by the workers, and kept in Redis."""
        held = int(sum(await values(self.site.gateways, "gateway_leases")))
        store = self.site.store.client
        kept = [await store.zcard(name) async for name in store.scan_iter("gw:lease:*")]
        return held, sum(kept)


async def values(gateways: Sequence[Gateway], metric: str) -> list[float]:
    """Of every worker of these."""
    found: list[float] = []
    for gateway in gateways:
        told = (await gateway.crew.served.get("/metrics", admin=True)).body.decode()
        rows = re.findall(rf"^{metric}(?:\{{[^}}]*\}})? (\S+)$", told, re.MULTILINE)
        found += map(float, rows)
    return found


def rows(workers: Sequence[Samples], warm: float) -> Iterator[tuple[str, ...]]:
    yield "worker", "RSS MB", "warm", "most", "end", "MB/h", "descriptors", "most", "end"
    for one in workers:
        since = next((i for i, t in enumerate(one.times) if t >= warm), 0)
        memory = (one.memory[0], one.memory[since], max(one.memory), one.memory[-1])
        opened = (one.descriptors[0], max(one.descriptors), one.descriptors[-1])
        yield (
            one.name,
            *(f"{size / MEGABYTE:.1f}" for size in memory),
            f"{one.slope(warm) / MEGABYTE:.1f}",
            *map(str, opened),
        )
