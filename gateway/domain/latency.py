"""How long requests took, as counts in bins with fixed bounds: those of all workers and of any
span of time add up, which quantiles do not."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Upper bounds in milliseconds, from a warm admission to what nobody waits for.
BOUNDS = (
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
    *(1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0),
)
_NAMES = (*(f"{bound:g}" for bound in BOUNDS), "more")


@dataclass(frozen=True, slots=True)
class Quantiles:
    """In milliseconds: half, 95 and 99 of a hundred took no longer."""

    p50: float
    p95: float
    p99: float


def bin_of(seconds: float) -> str:
    """The name of the bin that counts what took so long."""
    return _NAMES[bisect_left(BOUNDS, seconds * 1000)]


def quantiles(bins: Mapping[str, int]) -> Quantiles | None:
    """Of what was counted by `bin_of`; None: nothing was. Within a bin all is taken to be spread
    evenly, and what took longer than the last bound is taken for the last bound."""
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
