"""The rate-limit fields say what the contract and the draft say, for every kind of limit."""

from datetime import UTC, datetime

from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.limit_headers import limit_fields
from gateway.domain.keys.limits import Quota, Rate, Window

RATE = NamedLimit("rate", "rate", Rate(10, 1), burst=20)
DAY = NamedLimit("day", "day", Quota(10_000, Window.DAY))
MONTH = NamedLimit("month", "month", Quota(200_000, Window.MONTH))
AGENTS_MONTH = NamedLimit("agent-month", "agent:faq:month", Quota(50, Window.MONTH))
FEBRUARY = datetime(2028, 2, 29, 23, 59, tzinfo=UTC)
MARCH = datetime(2028, 3, 1, tzinfo=UTC)


def fields(limits: tuple[NamedLimit, ...], *states: int, now: datetime = MARCH) -> dict[str, str]:
    """As a refusal says them; an answer that is passed on says the same."""
    found = limit_fields(limits)
    second = now.timestamp()
    pairs = found.pairs(states, second)
    assert found.lines(states, second) == "".join(f"{n}: {v}\r\n" for n, v in pairs).encode()
    return dict(pairs)


def test_every_limit_is_in_both_structured_fields_in_order() -> None:
    said = fields((RATE, DAY), 7, 1, 9123, 3600)
    assert said["RateLimit-Policy"] == '"rate";q=20;w=2, "day";q=10000;w=86400'
    assert said["RateLimit"] == '"rate";r=7;t=1, "day";r=9123;t=3600'


def test_the_width_of_a_rate_is_the_time_to_fill_its_burst_rounded_up() -> None:
    slow = NamedLimit("rate", "rate", Rate(3, 60), burst=4)
    assert fields((slow,), 4, 0)["RateLimit-Policy"] == '"rate";q=4;w=80'
    odd = NamedLimit("rate", "rate", Rate(3, 1), burst=4)
    assert fields((odd,), 4, 0)["RateLimit-Policy"] == '"rate";q=4;w=2'


def test_a_month_is_as_long_as_the_present_one() -> None:
    of_february = fields((MONTH,), 1, 1, now=FEBRUARY)
    assert of_february["RateLimit-Policy"] == f'"month";q=200000;w={29 * 86400}'
    of_march = fields((MONTH,), 1, 1, now=MARCH)
    assert of_march["RateLimit-Policy"] == f'"month";q=200000;w={31 * 86400}'


def test_two_monthly_quotas_get_their_width_each() -> None:
    said = fields((MONTH, RATE, AGENTS_MONTH), 1, 1, 1, 1, 1, 1)
    month = 31 * 86400
    assert said["RateLimit-Policy"] == (
        f'"month";q=200000;w={month}, "rate";q=20;w=2, "agent-month";q=50;w={month}'
    )


def test_the_single_fields_are_those_of_the_limit_with_the_smallest_share_left() -> None:
    said = fields((RATE, DAY, MONTH), 19, 1, 4000, 3600, 190_000, 86_400)
    assert said["X-RateLimit-Limit"] == "10000"
    assert said["X-RateLimit-Remaining"] == "4000"
    assert said["X-RateLimit-Reset"] == "3600"


def test_of_equal_shares_the_first_is_told() -> None:
    assert fields((RATE, DAY), 20, 0, 10_000, 60)["X-RateLimit-Limit"] == "20"


def test_a_limit_that_is_used_up_is_the_one_told() -> None:
    said = fields((RATE, DAY), 20, 0, 0, 77)
    assert (said["X-RateLimit-Limit"], said["X-RateLimit-Remaining"]) == ("10000", "0")
    assert said["X-RateLimit-Reset"] == "77"
