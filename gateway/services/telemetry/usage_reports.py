"""Usage as operators read it: by bucket, in total, and how long requests took."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.domain.latency import Quantiles, quantiles
from gateway.domain.usage import By, Counts, Step, bucket_of, key_bucket
from gateway.store.usage import IN_ONE_TURN, UsageStore
from gateway.tasks import cooperatively


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
