"""The current state of a worker for gauges, sampled every two seconds at no cost to requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Gauge

from gateway.domain.errors import StoreError
from gateway.services.telemetry.traffic import Traffic

SAMPLE_SECONDS = 2.0


class GaugeSampler:
    """`ping`: a round trip on the connection for admissions; StoreError if there is none."""

    def __init__(self, traffic: Traffic, ping: Callable[[], Awaitable[None]]) -> None:
        self._traffic = traffic
        self._ping = ping
        self._gauges: list[tuple[Gauge, Callable[[], float]]] = []
        self.track(traffic.tasks, lambda: len(asyncio.all_tasks()))

    def track(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Set `gauge` to `value()` at each sample."""
        self._gauges.append((gauge, value))

    async def run(self) -> None:
        """Sample again and again. Never ends by itself."""
        while True:
            await self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def sample(self) -> None:
        for gauge, value in self._gauges:
            gauge.set(value())
        began = time.monotonic()
        try:
            await self._ping()
        except StoreError:
            self._traffic.store_up.set(0)
        else:
            self._traffic.store_up.set(1)
            self._traffic.store_seconds.observe(time.monotonic() - began)
