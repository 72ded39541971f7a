"""Latencies as counts in bins with fixed bounds. Counts of several workers and periods can be
added; quantiles cannot."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

# Upper bounds in milliseconds, from a warm admission to longer than any caller waits.
BOUNDS = (
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
    *(1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0),
)
_NAMES = (*(f"{bound:g}" for bound in BOUNDS), "more")
_bin = partial(bisect_left, tuple(bound / 1000 for bound in BOUNDS))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The 50th, 95th and 99th percentile, in milliseconds."""

    p50: float
    p95: float
    p99: float


def bins_of(seconds: Iterable[float]) -> Iterator[str]:
    """Return the name of the bin that each of these durations falls into."""
    return map(_NAMES.__getitem__, map(_bin, seconds))


def quantiles(bins: Mapping[str, int]) -> Quantiles | None:
    """Return the quantiles of counts by bin name; None if they are empty. Values are taken to
    be spread evenly within a bin. Values beyond the last bound count as that bound."""
    counts = [bins.get(name, 0) for name in _NAMES]
    if not any(counts):
        return None
    return Quantiles(_quantile(counts, 0.5), _quantile(counts, 0.95), _quantile(counts, 0.99))


def _quantile(counts: Sequence[int], share: float) -> float:
    left = share * sum(counts)
    lower = 0.0
    for count, upper in zip(counts, BOUNDS, strict=False):
        if count and left <= count:
            return round(lower + (upper - lower) * left / count, 3)
        left -= count
        lower = upper
    return lower
