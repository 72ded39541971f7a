"""No order of calls and clock steps admits more than the limits allow, nor less.

The real script runs in a real server; only its clock is a number of the test's.
"""

import math
from calendar import timegm
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from importlib.resources import files

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys.limits import Quota, Rate, Window
from gateway.domain.settings import StoreSettings

SCRIPT = files("gateway.store").joinpath("admit.lua").read_text()
CLOCKED = SCRIPT.replace(
    "redis.call('TIME')", "{table.remove(ARGV, #ARGV - 1), table.remove(ARGV)}"
)
# Far in the future, so that the server's own clock expires nothing behind the test's back.
START = timegm((2096, 2, 28, 23, 59, 50))
RECORD = "gw:key:{simulated000}"
FIELDS = 10
MICRO = 1_000_000


@dataclass
class Simulation:
    client: redis.Redis
    rate: Rate
    burst: int
    quotas: tuple[Quota, ...]
    now: Fraction = Fraction(START)
    admitted: list[Fraction] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert CLOCKED != SCRIPT
        self.client.flushall()
        self.client.hset(RECORD, mapping={"hash": "h", "status": "active"})
        self.script = self.client.register_script(CLOCKED)

    @property
    def keys(self) -> list[str]:
        return ["gw:rate:{simulated000}:rate"] + [
            f"gw:quota:{{simulated000}}:{quota.window.label}" for quota in self.quotas
        ]

    def call(self) -> list[int]:
        self._expire()
        arguments: list[str] = ["h", "active", *[""] * (FIELDS - 2), "0", ""]
        arguments += ["rate", repr(self.rate.interval_us), str(self.burst)]
        for quota in self.quotas:
            arguments += [quota.window.value, str(quota.count), ""]
        seconds, micros = divmod(int(self.now * MICRO), MICRO)
        keys = [RECORD, "gw:used:{simulated000}", *self.keys]
        answer: list[int] = self.script(keys, [*arguments, str(seconds), str(micros)])
        self._expire(at_once=True)
        if answer[0] == 1:
            self.admitted.append(self.now)
        return answer

    def _expire(self, *, at_once: bool = False) -> None:
        """What the server would do, were the test's clock its own.

        It keeps a key through the millisecond in which it ends, but `at_once` deletes one that is
        given such an end.
        """
        for key in self.keys[1:]:
            ends = self.client.pexpiretime(key)
            assert ends != -1, "a counter without an end would ban for ever"
            if 0 <= ends < int(self.now * 1000) + at_once:
                self.client.delete(key)

    def window(self, quota: Quota, at: Fraction) -> object:
        moment = datetime.fromtimestamp(int(at), UTC)
        parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
        depth = {
            Window.MONTH: 2,
            Window.DAY: 3,
            Window.HOUR: 4,
            Window.MINUTE: 5,
            Window.SECOND: 6,
        }
        return parts[: depth[quota.window]]

    def allowed(self) -> bool:
        """The contract, in exact arithmetic and by looking at every admitted call."""
        return self._rate_allows() and all(
            sum(self.window(quota, at) == self.window(quota, self.now) for at in self.admitted)
            < quota.count
            for quota in self.quotas
        )

    def _rate_allows(self) -> bool:
        interval = Fraction(self.rate.per, self.rate.count)
        full_at = Fraction(0)
        for at in self.admitted:
            full_at = max(full_at, at) + interval
        return max(full_at, self.now) + interval - self.now <= self.burst * interval

    def margin(self) -> Fraction:
        """How far the rate's verdict is from turning, in seconds."""
        interval = Fraction(self.rate.per, self.rate.count)
        full_at = Fraction(0)
        for at in self.admitted:
            full_at = max(full_at, at) + interval
        return abs(max(full_at, self.now) + interval - self.now - self.burst * interval)


RATES = st.builds(Rate, st.integers(1, 50), st.sampled_from([1, 60, 3600]))
QUOTAS = st.lists(
    st.builds(Quota, st.integers(1, 12), st.sampled_from(list(Window))),
    max_size=3,
    unique_by=lambda quota: quota.window,
).map(tuple)
STEPS = st.lists(
    st.one_of(
        st.integers(0, 2 * MICRO),
        st.integers(0, 90 * MICRO),
        st.sampled_from([0, 1, 999_999, MICRO, 3600 * MICRO, 86400 * MICRO, 31 * 86400 * MICRO]),
    ),
    min_size=5,
    max_size=60,
)


@pytest.fixture
def server(store: StoreSettings) -> redis.Redis:
    assert store.url
    return redis.Redis.from_url(store.url)


@settings(max_examples=60)
@given(RATES, st.integers(1, 8), QUOTAS, STEPS)
def test_what_is_admitted_is_exactly_what_the_limits_allow(
    server: redis.Redis, rate: Rate, burst: int, quotas: tuple[Quota, ...], steps: list[int]
) -> None:
    simulation = Simulation(server, rate, burst, quotas)
    for step in steps:
        simulation.now += Fraction(step, MICRO)
        allowed, margin = simulation.allowed(), simulation.margin()
        admitted = simulation.call()[0] == 1
        # Microseconds are whole and the interval is a double: on the very edge both are right.
        assert admitted == allowed or margin <= Fraction(len(steps) + 2, MICRO)


@settings(max_examples=60)
@given(RATES, st.integers(1, 8), QUOTAS, STEPS)
def test_waiting_for_retry_after_is_enough_and_a_second_less_is_not(
    server: redis.Redis, rate: Rate, burst: int, quotas: tuple[Quota, ...], steps: list[int]
) -> None:
    simulation = Simulation(server, rate, burst, quotas)
    for step in steps:
        simulation.now += Fraction(step, MICRO)
        answer = simulation.call()
        if answer[0] == 2:
            simulation.now += answer[1] - 1
            if simulation.margin() > Fraction(len(steps) + 2, MICRO):
                assert simulation.call()[0] == 2
            simulation.now += 1
            assert simulation.call()[0] == 1
            return


@pytest.mark.parametrize("window", list(Window))
@pytest.mark.parametrize("micros_left", [1, 400, 999, 1000, 1001, 1999, 2000, 2001])
def test_the_last_millisecond_of_a_window_is_counted_like_any_other(
    server: redis.Redis, window: Window, micros_left: int
) -> None:
    end = timegm((2096, 3, 1, 0, 0, 0))
    now = Fraction(end) - Fraction(micros_left, MICRO)
    simulation = Simulation(server, Rate(50, 1), 50, (Quota(2, window),), now)
    assert [simulation.call()[0] for _ in range(4)] == [1, 1, 2, 2]
    simulation.now = Fraction(end)
    assert [simulation.call()[0] for _ in range(4)] == [1, 1, 2, 2], "a new window, a new count"
    simulation.now += Fraction(1, 1000)
    assert simulation.call()[0] == 2


@pytest.mark.parametrize(
    ("window", "moment", "ends"),
    [
        (Window.SECOND, "2096-02-28T23:59:58", "2096-02-28T23:59:59"),
        (Window.SECOND, "2096-02-28T23:59:59", "2096-02-29"),
        (Window.MINUTE, "2096-02-28T22:58:01", "2096-02-28T22:59"),
        (Window.HOUR, "2096-02-28T22:01", "2096-02-28T23:00"),
        (Window.DAY, "2096-02-27T00:00", "2096-02-28"),
        (Window.DAY, "2096-02-28T23:59:59", "2096-02-29"),
        (Window.MONTH, "2096-02-28", "2096-03-01"),
        (Window.MONTH, "2096-02-29", "2096-03-01"),
        (Window.MONTH, "2100-02-28", "2100-03-01"),
        (Window.MONTH, "2096-12-31", "2097-01-01"),
        (Window.MONTH, "2096-01-01", "2096-02-01"),
        (Window.MONTH, "2399-12-01", "2400-01-01"),
        (Window.MONTH, "2400-02-29", "2400-03-01"),
    ],
)
def test_a_window_ends_when_the_calendar_says(
    server: redis.Redis, window: Window, moment: str, ends: str
) -> None:
    start, end = (timegm(datetime.fromisoformat(at).timetuple()) for at in (moment, ends))
    simulation = Simulation(server, Rate(50, 1), 50, (Quota(5, window),), Fraction(start))
    reset = simulation.call()[4]
    assert start + reset == end


@pytest.mark.parametrize("year", [2096, 2097, 2099, 2100])
def test_each_month_ends_where_the_next_one_begins(server: redis.Redis, year: int) -> None:
    for month in range(1, 13):
        first = timegm((year, month, 1, 0, 0, 0))
        end = timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))
        for left in (end - first, 86400, Fraction(3, 2)):
            quota = (Quota(5, Window.MONTH),)
            simulation = Simulation(server, Rate(50, 1), 50, quota, Fraction(end - left))
            assert simulation.call()[4] == math.ceil(left), "whole seconds that are enough"


def test_what_a_request_takes_up_is_rounded_up(server: redis.Redis) -> None:
    """Rounded down, a third of a microsecond each time would add up to a request too many."""
    simulation = Simulation(server, Rate(3, 1), 9, (), Fraction(1000))
    for used in range(1, 6):
        assert simulation.call()[0] == 1
        full_at = int((server.get(simulation.keys[0]) or b"").split()[0])
        assert full_at >= simulation.now * MICRO + Fraction(used * MICRO, 3)


def test_what_was_used_stays_used_when_the_rate_changes(server: redis.Redis) -> None:
    simulation = Simulation(server, Rate(10, 1), 10, ())
    for _ in range(8):
        assert simulation.call()[0] == 1
    simulation.rate = Rate(10, 3600)
    assert simulation.call()[:2] == [1, 1], "eight of ten are used, whatever the rate"
    simulation.call()
    assert simulation.call()[0] == 2
    simulation.rate = Rate(10, 1)
    assert simulation.call()[:2] == [2, 1]
    simulation.now += 1
    assert simulation.call()[:2] == [1, 9], "from then on it drains at the new rate"


def test_nothing_is_charged_when_one_limit_refuses(server: redis.Redis) -> None:
    simulation = Simulation(server, Rate(50, 1), 50, (Quota(1, Window.DAY), Quota(9, Window.MONTH)))
    assert simulation.call()[0] == 1
    before = {key: server.get(key) for key in simulation.keys}
    for _ in range(5):
        assert simulation.call()[0] == 2
    assert {key: server.get(key) for key in simulation.keys} == before
