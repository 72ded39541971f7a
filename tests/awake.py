"""A clock for claims about time, for which no machine is too busy: it counts neither the time in
which this process got no processor, nor the grace that `gateway.timers` gives others after it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.timers import LONGEST_GRACE

TICK = 0.01
# The most that counts of the time between two ticks: the rest was a stall.
MOST = 5 * TICK


class Clock:
    """Begins at 0. A loop that computes for long without a tick does not stall. One that waits for
    long in a blocking call does: such a call is not found by this clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._counted = self._grace = 0.0
        self._at, self._worked = time.monotonic(), time.process_time()
        self._ticks = self._loop.call_later(TICK, self._tick)

    def __call__(self) -> float:
        at, worked = time.monotonic(), time.process_time()
        passed = at - self._at
        awake = min(passed, max(MOST, worked - self._worked))
        graced = min(awake, self._grace)
        self._counted += awake - graced
        self._grace += min(passed - awake, LONGEST_GRACE) - graced
        self._at, self._worked = at, worked
        return self._counted

    def _tick(self) -> None:
        self()
        self._ticks = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        self._ticks.cancel()


@contextmanager
def awake() -> Iterator[Callable[[], float]]:
    """The seconds since this context was entered."""
    clock = Clock()
    try:
        yield clock
    finally:
        clock.stop()
