"""Limits: what is written is what is meant, and what is half understood is refused whole."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.keys import limits
from gateway.domain.keys.limits import MAX_AMOUNT, Limits, Quota, Rate, Window, parse_own
from gateway.domain.units import SECONDS

amounts = st.integers(1, MAX_AMOUNT)
rates = st.builds(Rate, amounts, st.sampled_from(list(SECONDS.values())))
quotas = st.builds(Quota, amounts, st.sampled_from(Window))
distinct = st.lists(quotas, min_size=1, max_size=6, unique_by=lambda q: q.window).map(tuple)
some = st.builds(
    Limits, rates | st.none(), amounts | st.none(), distinct | st.just(tuple[Quota, ...]())
)


def written(own: Limits) -> str:
    items = []
    if own.rate:
        items.append(f"rate={own.rate}")
    if own.burst is not None:
        items.append(f"burst={own.burst}")
    if own.quotas:
        items.append("quota=" + ",".join(map(str, own.quotas)))
    return " ".join(items)


@given(some)
@example(Limits(Rate(MAX_AMOUNT, 1), MAX_AMOUNT, (Quota(MAX_AMOUNT, Window.DAY),)))
def test_limits_read_back_as_they_were_written(own: Limits) -> None:
    assert parse_own(written(own)) == own


@given(st.text())
def test_any_text_is_either_limits_or_a_value_error(text: str) -> None:
    try:
        parse_own(text)
    except ValueError as problem:
        assert str(problem)


@given(some, some)
def test_own_limits_replace_the_plan_item_by_item(plan: Limits, own: Limits) -> None:
    both = plan.overridden(own)
    assert both.rate == (own.rate or plan.rate)
    assert both.burst == (plan.burst if own.burst is None else own.burst)
    assert both.quotas == (own.quotas or plan.quotas)


@given(rates)
def test_a_rate_takes_up_its_share_of_time(rate: Rate) -> None:
    assert rate.interval_us * rate.count == pytest.approx(rate.per * 1_000_000)


def test_without_a_burst_as_many_are_admitted_at_once_as_the_rate_names() -> None:
    assert parse_own("rate=5/s").effective_burst == 5
    assert parse_own("rate=5/s burst=9").effective_burst == 9
    assert parse_own("quota=100/d").effective_burst == 0


@pytest.mark.parametrize(
    "text",
    [
        "rate",
        "rate=",
        "rate=5",
        "rate=0/s",
        "rate=-1/s",
        "rate=05/s",
        "rate=5/",
        "rate=5/S",
        "rate=5/month",
        "rate=5/sec",
        "rate=1e3/s",
        "rate=5.5/s",
        "rate= 5/s",
        f"rate={MAX_AMOUNT + 1}/s",
        "rate=\N{ARABIC-INDIC DIGIT FIVE}/s",
        "rate=5/s rate=6/s",
        "burst=0",
        "burst=x",
        "burst=1_0",
        f"burst={MAX_AMOUNT + 1}",
        "burst=",
        "quota=",
        "quota=5/d,",
        "quota=5/d,6/d",
        "quota=5/w",
        "speed=5/s",
        "=5/s",
        "rate=5/s nonsense",
        "concurrency=0",
        "\x1c",
        "rate=5/s\tburst=6",
        "concurrency=4/s",
        f"concurrency={MAX_AMOUNT + 1}",
    ],
)
def test_limits_that_cannot_be_read_whole_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_own(text)


def test_whoever_gives_a_key_tokens_of_its_own_is_told_where_they_are_set() -> None:
    with pytest.raises(ValueError, match="'tokens' are a plan's alone"):
        parse_own("rate=5/s tokens=100/d")


def test_every_window_has_a_label_for_headers() -> None:
    assert [window.label for window in limits.Window] == [
        "second",
        "minute",
        "hour",
        "day",
        "month",
    ]


def test_concurrency_is_replaced_like_the_others() -> None:
    plan = Limits(Rate(5, 1), concurrency=limits.Concurrency(4))
    assert plan.overridden(parse_own("concurrency=9")).concurrency == limits.Concurrency(9)
    assert plan.overridden(parse_own("rate=1/s")).concurrency == limits.Concurrency(4)
    assert str(plan) == "rate=5/s burst=5 concurrency=4"
    assert str(replace(plan, concurrency=None)) == "rate=5/s burst=5"
