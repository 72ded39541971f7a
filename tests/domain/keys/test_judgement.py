"""What a record means: whom it lets in, in which order it refuses, and which limits bind it."""

from dataclasses import replace

import pytest

from gateway.domain.errors import Code
from gateway.domain.keys.judgement import (
    MisconfiguredError,
    NamedLimit,
    binding_limits,
    check_consistent,
    effective_limits,
    enforced_limits,
    may_act_for,
    previous_lives,
    refused_by,
    valid_until,
    why_dead,
)
from gateway.domain.keys.limits import Concurrency, Limits, Quota, Rate, Tokens, Window, parse_own
from gateway.domain.keys.record import KeyRecord
from gateway.domain.policies.plans import Plan

NOW = 1_800_000_000
LIVE = KeyRecord("4xT9mQ2LrB7c", hash="h", status="active")
ROTATED = replace(LIVE, previous_hash="old", previous_expires_at=f"{NOW}")
DAY, TOKENS = Quota(9, Window.DAY), Tokens(5, Window.DAY)
PLAN = Plan(
    "standard",
    Limits(Rate(10, 1), None, (DAY,), Concurrency(4), (TOKENS,)),
    {"faq": Limits(Rate(1, 1), quotas=(DAY,), concurrency=Concurrency(1))},
)
PLANS = {"standard": PLAN, "trial": replace(PLAN, name="trial", enforced=False)}
PLANNED = replace(LIVE, plan="standard")
TRIED = replace(LIVE, plan="trial")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, None),
        ({"status": "revoked", "expires_at": "1"}, Code.KEY_REVOKED),
        ({"status": "disabled", "expires_at": "1"}, Code.KEY_DISABLED),
        ({"status": ""}, Code.KEY_DISABLED),
        ({"status": "Active"}, Code.KEY_DISABLED),
        # A decoy is not even told to be dead.
        ({"status": "canary", "expires_at": "1"}, Code.KEY_INVALID),
        ({"expires_at": f"{NOW - 1}"}, Code.KEY_EXPIRED),
        ({"expires_at": f"{NOW}"}, Code.KEY_EXPIRED),
        ({"expires_at": f"{NOW + 1}"}, None),
        ({"expires_at": "0"}, Code.KEY_EXPIRED),
    ],
)
def test_a_key_that_does_not_live_is_refused_with_the_first_reason(
    fields: dict[str, str], code: Code | None
) -> None:
    assert why_dead(replace(LIVE, **fields), NOW) is code


def test_an_old_secret_lives_before_the_second_in_which_its_grace_ends() -> None:
    assert previous_lives(ROTATED, NOW - 0.001)
    assert not previous_lives(ROTATED, NOW)
    assert not previous_lives(replace(ROTATED, previous_hash=""), NOW - 1)
    assert previous_lives(replace(ROTATED, previous_expires_at="9" * 12), NOW)
    for until in ("", "never", "-1", "1e12", "9" * 13):
        assert not previous_lives(replace(ROTATED, previous_expires_at=until), NOW - 1)


def test_a_secret_ends_with_its_key_and_an_old_one_with_its_grace() -> None:
    assert valid_until(ROTATED, by_previous=False) == 0
    assert valid_until(ROTATED, by_previous=True) == NOW
    sooner, later = (replace(ROTATED, expires_at=f"{NOW + shift}") for shift in (-5, 5))
    assert valid_until(sooner, by_previous=True) == NOW - 5
    assert valid_until(later, by_previous=True) == NOW
    assert valid_until(later, by_previous=False) == NOW + 5


@pytest.mark.parametrize(
    ("users", "user", "may"),
    [
        ("", "u1", False),
        ("u1", "u1", True),
        ("u2  u1", "u1", True),
        ("u11", "u1", False),
        ("U1", "u1", False),
        ("*", "u1", True),
        ("u2 *", "u1", True),
        ("u*", "u1", False),
    ],
)
def test_a_key_acts_for_the_users_that_it_names(users: str, user: str, may: bool) -> None:
    assert may_act_for(users, user) is may


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": "soon"},
        {"expires_at": "-1"},
        {"limits": "rate=fast"},
        {"limits": "burst=3"},
        {"limits": "rate=1/s rate=2/s"},
        {"limits": "rate=fast", "plan": "standard"},
    ],
)
def test_a_record_that_makes_no_sense_is_refused_and_the_log_told_which(
    fields: dict[str, str],
) -> None:
    record = replace(LIVE, **fields)
    with pytest.raises(MisconfiguredError, match=f"key {LIVE.id}: ") as refused:
        check_consistent(record)
    assert refused.value.record is record


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"expires_at": f"{NOW}", "limits": "rate=1/s burst=3"},
        # Only a plan tells: of a rate, it may be.
        {"limits": "burst=3", "plan": "standard"},
        {"plan": "nowhere"},
    ],
)
def test_what_only_its_plan_can_tell_of_a_record_is_left_to_its_plan(
    fields: dict[str, str],
) -> None:
    check_consistent(replace(LIVE, **fields))


def test_limits_that_cannot_be_had_refuse_whatever_binds_the_key() -> None:
    for record in (replace(LIVE, plan="nowhere"), replace(LIVE, limits="burst=3")):
        assert refused_by(record, PLANS)
        for read in (effective_limits, enforced_limits):
            with pytest.raises(MisconfiguredError):
                read(record, PLANS)
        with pytest.raises(MisconfiguredError):
            binding_limits(record, PLANS, None)
    assert refused_by(replace(LIVE, plan="nowhere"), PLANS) == "plan nowhere is gone"
    assert refused_by(replace(LIVE, plan="standard", limits="burst=3"), PLANS) == ""
    assert refused_by(LIVE, PLANS) == ""


def test_a_key_is_bound_by_its_plan_and_at_an_agent_by_that_ones_limits_too() -> None:
    named = binding_limits(PLANNED, PLANS, "faq", of_model=True)
    assert [(one.label, one.counter, one.burst) for one in named] == [
        ("rate", "rate", 10),
        ("day", "day", 0),
        ("agent-rate", "agent:faq:rate", 1),
        ("agent-day", "agent:faq:day", 0),
        ("tokens-day", "tokens:day", 0),
        ("concurrency", "", 0),
        ("agent-concurrency", "agent:faq", 0),
    ]
    assert all(one.enforced for one in named)
    labels = [one.label for one in binding_limits(PLANNED, PLANS, "other")]
    assert labels == ["rate", "day", "concurrency"]
    assert binding_limits(LIVE, PLANS, "faq", of_model=True) == ()


def test_what_a_key_sets_itself_replaces_its_plans_item_by_item() -> None:
    record = replace(PLANNED, limits="rate=5/m burst=7")
    limits, plan = effective_limits(record, PLANS)
    assert limits == replace(PLAN.limits, rate=Rate(5, 60), burst=7)
    assert plan is PLAN
    assert enforced_limits(record, PLANS) == limits


def test_a_plan_that_is_tried_out_refuses_nobody_but_what_a_key_sets_itself_does() -> None:
    named = binding_limits(TRIED, PLANS, "faq", of_model=True)
    assert [one.enforced for one in named] == [False] * 7
    own = replace(TRIED, limits="quota=3/d")
    named = binding_limits(own, PLANS, "faq", of_model=True)
    assert [one.label for one in named if one.enforced] == ["day"]
    assert enforced_limits(own, PLANS) == parse_own("quota=3/d")
    assert enforced_limits(TRIED, PLANS) == Limits()
    assert enforced_limits(PLANNED, PLANS) == PLAN.limits
    assert enforced_limits(LIVE, PLANS) == Limits()


def test_the_burst_of_a_plan_that_is_tried_out_goes_with_the_rate_of_the_key() -> None:
    bursts = replace(PLANS["trial"], limits=replace(PLAN.limits, burst=20))
    for own, enforced in (("rate=5/s", "rate=5/s burst=20"), ("quota=3/d", "quota=3/d")):
        record = replace(TRIED, limits=own)
        assert enforced_limits(record, {"trial": bursts}) == parse_own(enforced)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (Rate(1, 1), Code.RATE_LIMITED),
        (DAY, Code.QUOTA_EXHAUSTED),
        (TOKENS, Code.QUOTA_EXHAUSTED),
        (Concurrency(1), Code.CONCURRENCY_LIMITED),
    ],
)
def test_each_kind_of_limit_refuses_with_a_code_of_its_own(
    limit: Rate | Quota | Tokens | Concurrency, code: Code
) -> None:
    assert NamedLimit("", "", limit).denial is code


def test_a_limit_says_of_what_it_allows_how_much() -> None:
    named = binding_limits(PLANNED, PLANS, "faq", of_model=True)
    assert [one.most for one in named] == [
        "10/s",
        "9 requests each day",
        "1/s",
        "9 requests each day at this agent",
        "5 tokens each day",
        "4 at a time",
        "1 at a time",
    ]


def test_one_request_is_said_to_be_one() -> None:
    assert NamedLimit("", "", Quota(1, Window.DAY)).most == "1 request each day"
