"""Callers that ask without end, and what became of each of their requests."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.cli.serving import Connection

OK, LOST = "ok", "lost"
PAUSE = 0.02


class Call(NamedTuple):
    """`outcome`: ok, an error code, or lost: there was no whole answer. Times are monotonic."""

    caller: int
    began: float
    ended: float
    outcome: str


@dataclass
class Load:
    """`addresses`: of the gateways, in turn; `next_key`: what the next request is made with.

    `pause`: seconds between two requests of a caller.
    """

    addresses: Sequence[tuple[str, int]]
    next_key: Callable[[], str]
    path: str = "/agents/a/quick"
    pause: float = 0.0
    calls: list[Call] = field(default_factory=list)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self._call_on(number)) for number in range(callers)]
        try:
            yield self
        finally:
            self._ended.set()
            await asyncio.gather(*tasks)

    async def further(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        wanted = len(self.calls) + count
        while len(self.calls) < wanted:
            await asyncio.sleep(PAUSE)

    async def _call_on(self, number: int) -> None:
        turn = number
        while not self._ended.is_set():
            turn += 1
            began = time.monotonic()
            try:
                await self._one_connection(number, self.addresses[turn % len(self.addresses)])
            except OSError:
                # Not even a connection.
                self.calls.append(Call(number, began, time.monotonic(), LOST))
                await asyncio.sleep(PAUSE)

    async def _one_connection(self, number: int, address: tuple[str, int]) -> None:
        connection = Connection(*await asyncio.open_connection(*address))
        try:
            while not self._ended.is_set():
                began = time.monotonic()
                try:
                    outcome, last = await ask(connection, self.path, self.next_key())
                except (OSError, asyncio.IncompleteReadError):
                    outcome, last = LOST, True
                self.calls.append(Call(number, began, time.monotonic(), outcome))
                if last:
                    return
                if self.pause:
                    await asyncio.sleep(self.pause)
        finally:
            connection.writer.close()


async def ask(connection: Connection, path: str, key: str) -> tuple[str, bool]:
    """One request: its outcome, and whether the connection ends with it."""
    answer = await connection.get(path, key)
    outcome = OK if answer.status == 200 else answer.code
    return outcome, answer.headers.get("Connection") == "close"


def outcomes(calls: Iterable[Call]) -> Counter[str]:
    return Counter(call.outcome for call in calls)


def within(calls: Iterable[Call], since: float, until: float = float("inf")) -> list[Call]:
    """Those that began and ended in this time."""
    return [call for call in calls if since <= call.began and call.ended <= until]


def recovery(calls: Iterable[Call], since: float) -> float:
    """Seconds until every caller was admitted again; infinite if one never was."""
    callers = {call.caller for call in calls}
    first: dict[int, float] = {}
    for call in calls:
        if call.outcome == OK and call.began >= since:
            first.setdefault(call.caller, call.ended - since)
    return max(first.values()) if first.keys() == callers else float("inf")


def percentile(calls: Sequence[Call], share: float) -> float:
    """Of the seconds that they took."""
    times = sorted(call.ended - call.began for call in calls)
    return times[min(len(times) - 1, int(len(times) * share))]
