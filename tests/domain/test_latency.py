"""How long things took, in bins that add up."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.latency import BOUNDS, bins_of, quantiles

SECONDS = st.floats(min_value=0, max_value=59.9)


def test_of_nothing_there_are_no_quantiles() -> None:
    assert quantiles({}) is None
    assert quantiles({"no such bin": 3}) is None


def test_what_took_longer_than_all_bounds_is_taken_for_the_last() -> None:
    found = quantiles(Counter(bins_of([3600.0, 86_400.0])))
    assert found is not None
    assert (found.p50, found.p99) == (BOUNDS[-1], BOUNDS[-1])


def test_within_a_bin_times_are_taken_to_be_spread_evenly() -> None:
    found = quantiles({"10": 100})
    assert found is not None
    assert (found.p50, found.p95, found.p99) == (7.5, 9.75, 9.95)


@given(st.lists(SECONDS, min_size=2, max_size=200))
def test_a_quantile_is_in_the_bin_of_the_exact_one_or_beside_it(seconds: list[float]) -> None:
    found = quantiles(Counter(bins_of(seconds)))
    assert found is not None
    assert found.p50 <= found.p95 <= found.p99
    ordered = sorted(seconds)
    for told, share in ((found.p50, 50), (found.p95, 95), (found.p99, 99)):
        rank = -(-share * len(ordered) // 100)
        upper = next(bound for bound in BOUNDS if ordered[rank - 1] * 1000 <= bound)
        lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
        assert lower <= told <= upper


@given(st.lists(SECONDS, min_size=1), st.lists(SECONDS, min_size=1))
def test_bins_of_two_workers_add_up_to_those_of_one(one: list[float], other: list[float]) -> None:
    apart = Counter(bins_of(one)) + Counter(bins_of(other))
    assert quantiles(apart) == quantiles(Counter(bins_of(one + other)))
