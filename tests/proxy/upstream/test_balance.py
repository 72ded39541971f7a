"""Whom to ask: the least busy upstream that has not just failed."""

from gateway.domain.policies.snapshot import Upstream
from gateway.proxy.upstream.balance import (
    FAILURES_TO_EJECT,
    FIRST_EJECTION,
    LONGEST_EJECTION,
    Balance,
)
from tests.clock import Clock

A, B, C = (Upstream("http", name, 80) for name in "abc")


def fail(balance: Balance, upstream: Upstream, times: int) -> None:
    for _ in range(times):
        balance.health(upstream).failed(balance.clock())


def first(balance: Balance) -> set[Upstream]:
    """Whoever is asked first in the next turns."""
    return {balance.order((A, B, C))[0] for _ in range(9)}


def test_where_all_are_idle_each_has_its_turn() -> None:
    assert first(Balance(Clock())) == {A, B, C}


def test_the_least_busy_comes_first() -> None:
    balance = Balance(Clock())
    balance.health(A).busy, balance.health(B).busy, balance.health(C).busy = 5, 1, 3
    assert list(balance.order((A, B, C))) == [B, C, A]


def test_it_takes_several_failures_in_a_row_to_be_left_out() -> None:
    balance = Balance(Clock())
    fail(balance, A, FAILURES_TO_EJECT - 1)
    balance.health(A).succeeded()
    fail(balance, A, FAILURES_TO_EJECT - 1)
    assert A in first(balance)
    fail(balance, A, 1)
    assert first(balance) == {B, C}


def test_who_was_left_out_is_still_asked_last() -> None:
    balance = Balance(Clock())
    fail(balance, A, FAILURES_TO_EJECT)
    assert balance.order((A, B, C))[-1] == A


def test_where_all_failed_the_one_whose_time_comes_first_is_asked() -> None:
    clock = Clock()
    balance = Balance(clock)
    for upstream in (B, A, C):
        fail(balance, upstream, FAILURES_TO_EJECT)
        clock.now += 0.1
    assert first(balance) == {B}


def test_time_brings_it_back_and_one_more_failure_sends_it_away_for_longer() -> None:
    clock = Clock()
    balance = Balance(clock)
    fail(balance, A, FAILURES_TO_EJECT)
    clock.now += FIRST_EJECTION
    assert A in first(balance)
    fail(balance, A, 1)
    clock.now += FIRST_EJECTION
    assert A not in first(balance)
    clock.now += FIRST_EJECTION
    assert A in first(balance)


def test_nobody_is_left_out_for_longer_than_a_minute() -> None:
    clock = Clock()
    balance = Balance(clock)
    fail(balance, A, 10_000)
    clock.now += LONGEST_EJECTION
    assert A in first(balance)


def test_one_success_forgives_all() -> None:
    balance = Balance(Clock())
    fail(balance, A, 50)
    balance.health(A).succeeded()
    fail(balance, A, FAILURES_TO_EJECT - 1)
    assert A in first(balance)


def test_who_waits_is_counted_over_all_and_not_who_is_being_answered() -> None:
    """One that is left out may hold as many as before."""
    balance = Balance(Clock())
    balance.health(A).busy, balance.health(B).busy = 3, 2
    fail(balance, A, FAILURES_TO_EJECT)
    with balance.health(B).answers():
        assert balance.waiting((A, B, C)) == 4
    assert balance.waiting((A, B, C)) == 5
