"""Usage: counted in batches, written in the background, read by operators.

Nothing here delays or refuses a request: limits are counted elsewhere.
"""

import asyncio
import time
from collections import Counter as Counted
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from secrets import token_hex

from gateway.domain.keys.record import well_formed
from gateway.domain.latency import Quantiles, in_bins, quantiles
from gateway.domain.settings import StoreSettings
from gateway.domain.traffic import Handled
from gateway.domain.usage import (
    Bucket,
    By,
    Counts,
    Step,
    TokensUsed,
    bucket_of,
    buckets,
    key_bucket,
)
from gateway.log import log
from gateway.store.connections.connect import open_lines
from gateway.store.usage import IN_ONE_TURN, UsageStore, UsageWriter
from gateway.tasks import background, cancel_and_wait, cooperatively

FLUSH_SECONDS = 1.0
# Buckets in one flush, and buckets that wait while Redis is away; more are not counted.
MOST_AT_ONCE, MOST_WAITING = 2_000, 20_000
# Names in one bucket; names that callers cannot invent are never so many.
MOST_NAMES = 5_000
EVERYTHING = ""


Waiting = dict[Bucket, dict[str, Counts]]
_ALIKE = attrgetter("key_id", "consumer", "agent", "code", "status")
_TIMES = ((By.ADMISSION, attrgetter("admission")), (By.FIRST_BYTE, attrgetter("first_byte")))


@asynccontextmanager
async def open_usage(store: StoreSettings) -> AsyncIterator["UsageBook"]:
    """Yield the counter; what was counted is written when it closes."""
    writer = UsageWriter(open_lines(store), token_hex(6), store.prefix)
    book = UsageBook(writer)
    flushing = background(book.flush_on())
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
        self._counted: Waiting = {}
        # Sent and not acknowledged: sent again unchanged.
        self._unsure: list[tuple[int, Waiting]] = []
        self._number = 0
        self._lost = 0

    def count(self, batch: Sequence[Handled]) -> None:
        """Count requests that have just ended; those that are alike are added together."""
        at = batch[-1].at
        for (key_id, consumer, agent, code, status), number in Counted(map(_ALIKE, batch)).items():
            one = Counts(
                requests=number,
                denied=number if code else 0,
                failed=number if status >= 500 else 0,
            )
            self._add(at, key_id, consumer, agent, one)
            if code:
                self._into(buckets(By.CODE, at), code, one)
        for by, time_of in _TIMES:
            taken = [seconds for seconds in map(time_of, batch) if seconds is not None]
            for name, number in in_bins(taken).items():
                self._into(buckets(by, at), name, Counts(requests=number))

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

    async def flush_on(self) -> None:
        """Flush again and again. Never ends by itself."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; what Redis does not accept now is sent again next time."""
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


@dataclass(frozen=True, slots=True)
class Point:
    """`at`: the start of the bucket, in Unix seconds."""

    at: int
    counts: Counts


async def series(
    store: UsageStore, by: By, name: str, step: Step, since: float, until: float
) -> list[Point]:
    """Return the counts of `name` (EVERYTHING for `By.ALL`) in each bucket, in order."""
    starts = step.starts(since, until)
    found = await _read(store, by, step, starts)
    return [
        Point(start, names.get(name, Counts())) for start, names in zip(starts, found, strict=True)
    ]


async def totals(
    store: UsageStore, by: By, step: Step, since: float, until: float
) -> dict[str, Counts]:
    """Return the total counts of the period by name."""
    return await _summed(await _read(store, by, step, step.starts(since, until)))


@dataclass(frozen=True, slots=True)
class Latency:
    """`at`: the start of the bucket, in Unix seconds. None: no request got so far."""

    at: int
    admission: Quantiles | None
    first_byte: Quantiles | None


async def latencies(
    store: UsageStore, step: Step, since: float, until: float
) -> tuple[Latency, list[Latency]]:
    """Return the latencies of the whole period, and of each of its buckets, in order."""
    starts = step.starts(since, until)
    found = [await _read(store, by, step, starts) for by in (By.ADMISSION, By.FIRST_BYTE)]
    whole = [_quantiles(await _summed(buckets)) for buckets in found]
    points = [
        Latency(start, _quantiles(admission), _quantiles(first_byte))
        for start, admission, first_byte in zip(starts, *found, strict=True)
    ]
    return Latency(starts.start, *whole), points


def _quantiles(names: dict[str, Counts]) -> Quantiles | None:
    return quantiles({name: counts.requests for name, counts in names.items()})


async def reached(store: UsageStore, key_id: str, since: float, until: float) -> dict[str, Counts]:
    """Return which agents a key called, and how often, in whole UTC days. StoreError if a day
    cannot be read, because it may be the one that matters."""
    days = [key_bucket(key_id, Step.DAY, day) for day in Step.DAY.starts(since, until)]
    return await _summed(await store.read(days, whole=True))


async def key_series(
    store: UsageStore, key_id: str, step: Step, since: float, until: float
) -> list[Point]:
    """Return the counts of one key in each bucket of the period."""
    starts = step.starts(since, until)
    found = await store.read([key_bucket(key_id, step, start) for start in starts])
    points = []
    for start, names in zip(starts, found, strict=True):
        counts = Counts()
        for one in names.values():
            counts.add(one)
        points.append(Point(start, counts))
    return points


async def _read(
    store: UsageStore, by: By, step: Step, starts: Iterable[int]
) -> list[dict[str, Counts]]:
    return await store.read([bucket_of(by, step, start) for start in starts])


async def _summed(found: Iterable[dict[str, Counts]]) -> dict[str, Counts]:
    total: dict[str, Counts] = {}
    async for names in cooperatively(found, IN_ONE_TURN):
        for name, counts in names.items():
            total.setdefault(name, Counts()).add(counts)
    return total
