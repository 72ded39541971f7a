"""Callers that go on calling while something happens to the store, and what each of them saw."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.domain.keys.key import Key
from tests.awake import awake
from tests.flows.world import World

PAUSE = 0.01


@dataclass(frozen=True)
class Call:
    key: Key
    began: float
    ended: float
    status: int

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Trickle:
    clock: Callable[[], float]
    calls: list[Call] = field(default_factory=list)

    @property
    def statuses(self) -> set[int]:
        return {call.status for call in self.calls}

    def count(self, status: int, *keys: Key) -> int:
        return sum(c.status == status and (not keys or c.key in keys) for c in self.calls)

    def slowest(self) -> float:
        return max(call.seconds for call in self.calls)

    async def heals(self, seconds: float, *keys: Key) -> float:
        """How long, of at most `seconds`, until calls (with these keys) are admitted again, ten
        in a row."""
        began = self.clock()
        while not self._well_since(began, keys):
            assert self.clock() - began < seconds, "it did not heal"
            await asyncio.sleep(PAUSE)
        return self.clock() - began

    async def refused(self, key: Key) -> None:
        """Until a call with this key is."""
        async with asyncio.timeout(30):
            while not self.count(503, key):
                await asyncio.sleep(PAUSE)

    def _well_since(self, moment: float, keys: tuple[Key, ...]) -> bool:
        new = [c for c in self.calls if c.began > moment and (not keys or c.key in keys)]
        return len(new) >= 10 and all(call.status == 200 for call in new[-10:])


@asynccontextmanager
async def trickling(world: World, *keys: Key, callers: int = 2) -> AsyncIterator[Trickle]:
    """While this lasts, so many callers with each of the keys call one after another."""
    ended = asyncio.Event()

    async def call_on(key: Key) -> None:
        while not ended.is_set():
            began = seen.clock()
            answer = await world.call(key)
            seen.calls.append(Call(key, began, seen.clock(), answer.status))
            await asyncio.sleep(PAUSE)

    with awake() as clock:
        seen = Trickle(clock)
        tasks = [asyncio.create_task(call_on(key)) for key in keys for _ in range(callers)]
        try:
            yield seen
        finally:
            ended.set()
            await asyncio.gather(*tasks)
