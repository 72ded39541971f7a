"""Failures are counted per key id and per address, for a while, and in bounded memory."""

import pytest

from gateway.services.admission.throttle import (
    PER_ADDRESS,
    PER_KEY,
    REMEMBERED,
    Failures,
    FailureThrottle,
)
from tests.clock import Clock

KEY, ADDRESS = "abcdefghijkl", "192.0.2.1"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> FailureThrottle:
    return FailureThrottle(clock)


def fail(throttle: FailureThrottle, times: int, key: str = KEY, address: str = ADDRESS) -> None:
    for _ in range(times):
        assert not throttle.refuses(key, address)
        throttle.count(key, address)


def test_a_key_fails_so_often_at_once_and_then_once_an_interval(
    throttle: FailureThrottle, clock: Clock
) -> None:
    fail(throttle, PER_KEY.burst)
    for _ in range(3):
        assert throttle.refuses(KEY, "192.0.2.99")
        clock.now += PER_KEY.interval - 0.001
        assert throttle.refuses(KEY, ADDRESS)
        clock.now += 0.001
        fail(throttle, 1)
    clock.now += 10 * PER_KEY.burst * PER_KEY.interval
    fail(throttle, PER_KEY.burst)
    assert throttle.refuses(KEY, ADDRESS), "no failures are saved up"


def test_an_address_fails_so_often_whatever_keys_it_tries(
    throttle: FailureThrottle, clock: Clock
) -> None:
    for i in range(PER_ADDRESS.burst):
        fail(throttle, 1, key=f"key{i:09d}")
    assert throttle.refuses("never-tried0", ADDRESS)
    assert not throttle.refuses("never-tried0", "192.0.2.2")
    clock.now += PER_ADDRESS.interval
    fail(throttle, 1, key="never-tried0")


def test_a_v6_network_is_one_address(throttle: FailureThrottle) -> None:
    for i in range(PER_ADDRESS.burst):
        fail(throttle, 1, key=f"key{i:09d}", address=f"2001:db8::{i:x}:1")
    assert throttle.refuses("another-key0", "2001:db8::ffff")
    assert not throttle.refuses("another-key0", "2001:db8:0:1::1")


def test_a_v4_address_that_is_spelled_as_v6_is_itself(throttle: FailureThrottle) -> None:
    for i in range(PER_ADDRESS.burst):
        fail(throttle, 1, key=f"key{i:09d}", address="::ffff:192.0.2.1")
    assert throttle.refuses("another-key0", "192.0.2.1")
    assert not throttle.refuses("another-key0", "::ffff:192.0.2.2")


def test_what_is_no_address_counts_as_one(throttle: FailureThrottle) -> None:
    for i in range(PER_ADDRESS.burst):
        fail(throttle, 1, key=f"key{i:09d}", address=f"unix:{i}")
    assert throttle.refuses("another-key0", "")


def test_memory_is_bounded_and_the_newest_are_kept(throttle: FailureThrottle) -> None:
    for i in range(REMEMBERED):
        throttle.count(f"{i:012d}", f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}")
    assert len(throttle._until) == REMEMBERED
    for _ in range(PER_KEY.burst):
        throttle.count(KEY, ADDRESS)
    assert throttle.refuses(KEY, "192.0.2.2")


def test_whoever_goes_on_failing_is_not_forgotten_for_those_who_stopped(
    throttle: FailureThrottle,
) -> None:
    for _ in range(PER_KEY.burst):
        throttle.count(KEY, ADDRESS)
        for i in range(REMEMBERED // PER_KEY.burst):
            throttle.count("other", f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}")
    throttle.count(KEY, ADDRESS)
    for i in range(REMEMBERED - 3):
        throttle.count("other", f"11.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}")
    assert throttle.refuses(KEY, "192.0.2.2")


def test_of_refused_tokens_the_newest_are_kept(clock: Clock) -> None:
    failures = Failures(clock)
    for i in range(REMEMBERED + 1):
        failures.add(b"%d" % i, "hash")
    assert failures.holds(b"%d" % REMEMBERED, "hash") and not failures.holds(b"0", "hash")


def test_a_refused_token_is_remembered_for_seconds_and_for_its_hash_alone(clock: Clock) -> None:
    failures = Failures(clock)
    failures.add(b"digest", "hash")
    assert failures.holds(b"digest", "hash")
    assert not failures.holds(b"digest", "another hash")
    assert not failures.holds(b"another", "hash")
    clock.now += 10.0
    assert not failures.holds(b"digest", "hash")
