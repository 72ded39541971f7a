"""Usage: counted in batches, written in the background.

Nothing here delays or refuses a request: limits are counted elsewhere.
"""

import asyncio
import time
from collections import Counter as Counted
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from secrets import token_hex

from gateway.domain.keys.record import well_formed
from gateway.domain.latency import bins_of
from gateway.domain.settings import StoreSettings
from gateway.domain.traffic import Handled
from gateway.domain.usage import (
    EVERYTHING,
    Bucket,
    By,
    Counts,
    Step,
    TokensUsed,
    buckets,
    key_bucket,
)
from gateway.log import log
from gateway.store.connections.connect import open_lines
from gateway.store.usage import UsageWriter
from gateway.tasks import cancel_and_wait, cooperatively, unending

FLUSH_SECONDS = 1.0
# Buckets in one flush, and buckets that wait while Redis is away; more are not counted.
MOST_AT_ONCE, MOST_WAITING = 2_000, 20_000
# Names in one bucket; names that callers cannot invent are never so many.
MOST_NAMES = 5_000
# Outcomes that are added up at once: about a millisecond's work.
OUTCOMES_IN_A_TURN = 100

Waiting = dict[Bucket, dict[str, Counts]]
# Key id, consumer, agent, code and status.
Outcome = tuple[str, str, str, str, int]
_OUTCOME = attrgetter("key_id", "consumer", "agent", "code", "status")
_ADMISSION, _FIRST_BYTE = attrgetter("admission"), attrgetter("first_byte")


@dataclass(slots=True)
class _Tally:
    """The requests that ended within one second: how many had each outcome, and how many of their
    times fall into each bin (domain/latency)."""

    outcomes: Counted[Outcome] = field(default_factory=Counted)
    admission: Counted[str] = field(default_factory=Counted)
    first_byte: Counted[str] = field(default_factory=Counted)


@asynccontextmanager
async def open_usage(store: StoreSettings) -> AsyncIterator["UsageBook"]:
    """Yield the counter; what was counted is written when it closes."""
    writer = UsageWriter(open_lines(store), token_hex(6), store.prefix)
    book = UsageBook(writer)
    flushing = unending(book.flush_on)
    try:
        yield book
    finally:
        await cancel_and_wait(flushing)
        await book.flush()
        await writer.close()


class UsageBook:
    """Counts what this process handles."""

    def __init__(self, writer: UsageWriter, wall: Callable[[], float] = time.time) -> None:
        self._writer = writer
        self._wall = wall
        self._tallies: defaultdict[int, _Tally] = defaultdict(_Tally)
        self._counted: Waiting = {}
        # Sent and not acknowledged: sent again unchanged.
        self._unsure: list[tuple[int, Waiting]] = []
        self._number = 0
        self._lost = 0

    def count(self, batch: Sequence[Handled]) -> None:
        """Count requests that have just ended."""
        # `flush` adds them up once a second: each request of a key raises a dozen counts.
        tally = self._tallies[int(batch[-1].at)]
        tally.outcomes.update(map(_OUTCOME, batch))
        for bins, time_of in ((tally.admission, _ADMISSION), (tally.first_byte, _FIRST_BYTE)):
            bins.update(bins_of([t for t in map(time_of, batch) if t is not None]))

    def spend(self, key_id: str, consumer: str, agent: str, used: TokensUsed) -> None:
        """Count the tokens that a call took."""
        one = Counts(
            prompt=used.prompt,
            completion=used.completion,
            tokens=used.total,
            estimated=used.total if used.estimated else 0,
        )
        self._add(self._wall(), key_id, consumer, agent, one)

    def _add(self, at: float, key_id: str, consumer: str, agent: str, one: Counts) -> None:
        self._into(buckets(By.ALL, at), EVERYTHING, one)
        if agent:
            self._into(buckets(By.AGENT, at), agent, one)
        if key_id:
            self._into(buckets(By.CONSUMER, at), well_formed(consumer), one)
            for step in Step:
                name = agent if step is Step.DAY else EVERYTHING
                self._into((key_bucket(key_id, step, at),), name, one)

    def _into(self, places: Iterable[Bucket], name: str, one: Counts) -> None:
        for bucket in places:
            names = self._counted.get(bucket)
            if names is None:
                if len(self._counted) >= MOST_WAITING:
                    self._lost += 1
                    continue
                names = self._counted[bucket] = {}
            counts = names.get(name)
            if counts is not None:
                counts.add(one)
            elif len(names) < MOST_NAMES:
                names[name] = Counts()
                names[name].add(one)

    async def _add_up(self) -> None:
        """Add the tallies to the buckets. Nothing is lost if this is cancelled."""
        for second in list(self._tallies):
            tally = self._tallies[second]
            async for outcome, number in cooperatively(_popped(tally.outcomes), OUTCOMES_IN_A_TURN):
                self._add_outcome(second, outcome, number)
            for by, bins in ((By.ADMISSION, tally.admission), (By.FIRST_BYTE, tally.first_byte)):
                for name, number in bins.items():
                    self._into(buckets(by, second), name, Counts(requests=number))
            del self._tallies[second]

    def _add_outcome(self, at: float, outcome: Outcome, number: int) -> None:
        key_id, consumer, agent, code, status = outcome
        one = Counts(
            requests=number,
            denied=number if code else 0,
            failed=number if status >= 500 else 0,
        )
        self._add(at, key_id, consumer, agent, one)
        if code:
            self._into(buckets(By.CODE, at), code, one)

    async def flush_on(self) -> None:
        """Flush again and again. Never ends by itself."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; what Redis does not accept now is sent again next time."""
        await self._add_up()
        if self._counted and not self._unsure:
            self._number += 1
            names = list(self._counted)[:MOST_AT_ONCE]
            self._unsure.append((self._number, {name: self._counted.pop(name) for name in names}))
        for number, counted in self._unsure[:1]:
            left = await self._writer.add(counted, number)
            again = {bucket: counted[bucket] for bucket in left.unsure}
            self._unsure = [(number, again)] if again else []
            self._lost += len(left.lost)
        if self._lost:
            log.warning("usage_not_counted", buckets=self._lost)
            self._lost = 0


def _popped(outcomes: Counted[Outcome]) -> Iterator[tuple[Outcome, int]]:
    while outcomes:
        yield outcomes.popitem()
