"""What a key's record means: alive or not, for whom it may act, which limits bind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.domain.errors import Code, GatewayError
from gateway.domain.keys import limits as limits_grammar
from gateway.domain.keys.limits import NO_LIMITS, Concurrency, Limits, Quota, Rate, Tokens
from gateway.domain.keys.record import ACTIVE, CANARY, REVOKED, KeyRecord, unix_time, words
from gateway.domain.policies.plans import Plan

ANY_USER = "*"
_LAST: Mapping[type, int] = {Tokens: 1, Concurrency: 2}


class MisconfiguredError(GatewayError):
    """A record that makes no sense; `str()` says why, for the operator's log only."""

    def __init__(self, record: KeyRecord, reason: str) -> None:
        super().__init__(f"key {record.id}: {reason}")
        self.record = record


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """One counter: `label` as headers name it, `counter` the part of its Redis name after
    `gw:rate:{id}:`, `gw:quota:{id}:` or `gw:lease:{id}:` (empty: there is no more). `enforced`
    False: a request that exceeds it is reported and let in."""

    label: str
    counter: str
    limit: Rate | Quota | Tokens | Concurrency
    burst: int = 0
    enforced: bool = True

    @property
    def denial(self) -> Code:
        """How a request that exceeds it is refused."""
        match self.limit:
            case Rate():
                return Code.RATE_LIMITED
            case Quota() | Tokens():
                return Code.QUOTA_EXHAUSTED
            case Concurrency():
                return Code.CONCURRENCY_LIMITED

    @property
    def most(self) -> str:
        """Of what there is how much, for whoever is refused."""
        if isinstance(self.limit, Rate | Concurrency):
            return str(self.limit)
        what = "tokens" if isinstance(self.limit, Tokens) else "requests"
        said = f"{self.limit.count} {what} each {self.limit.window.label}"
        return f"{said} at this agent" if self.counter.startswith("agent:") else said


def dead(record: KeyRecord, now: float) -> Code | None:
    """Why a key that was proven is refused: a decoy (as if there were none), revoked, disabled,
    expired, in this order."""
    if record.status == CANARY:
        return Code.KEY_INVALID
    if record.status == REVOKED:
        return Code.KEY_REVOKED
    if record.status != ACTIVE:
        return Code.KEY_DISABLED
    expires_at = unix_time(record.expires_at)
    if expires_at is not None and now >= expires_at:
        return Code.KEY_EXPIRED
    return None


def previous_lives(record: KeyRecord, now: float) -> bool:
    """Whether the old secret of a rotation still works."""
    until = unix_time(record.previous_expires_at)
    return bool(record.previous_hash) and until is not None and now < until


def valid_until(record: KeyRecord, *, by_previous: bool) -> int:
    """The Unix second from which the secret in hand stops working; 0: never."""
    ends = [unix_time(record.expires_at)]
    if by_previous:
        ends.append(unix_time(record.previous_expires_at))
    return min((end for end in ends if end is not None), default=0)


def may_act_for(users: str, user: str) -> bool:
    granted = words(users)
    return ANY_USER in granted or user in granted


def check_sense(record: KeyRecord) -> None:
    """MisconfiguredError if a number or a limit in the record is none, whatever its plan says."""
    if record.expires_at and unix_time(record.expires_at) is None:
        raise MisconfiguredError(record, "expires_at is not a Unix time in seconds")
    try:
        if record.plan:
            limits_grammar.parse_own(record.limits)
        else:
            limits_under(None, record.limits)
    except ValueError as problem:
        raise MisconfiguredError(record, f"limits: {problem}") from None


def limits_under(plan: Plan | None, own: str) -> Limits:
    """The plan's limits with each item replaced that `own` names; ValueError where they make no
    sense."""
    base = plan.limits if plan else NO_LIMITS
    limits = base.overridden(limits_grammar.parse_own(own))
    if limits.burst is not None and limits.rate is None:
        # Whoever wrote it believes that something is limited.
        raise ValueError("'burst' means nothing without 'rate'")
    return limits


def effective_limits(record: KeyRecord, plans: Mapping[str, Plan]) -> tuple[Limits, Plan | None]:
    """The record's limits over its plan's; MisconfiguredError where either cannot be read."""
    plan = _plan_of(record, plans)
    try:
        return limits_under(plan, record.limits), plan
    except ValueError as problem:
        raise MisconfiguredError(record, f"limits: {problem}") from None


def _plan_of(record: KeyRecord, plans: Mapping[str, Plan]) -> Plan | None:
    plan = plans.get(record.plan) if record.plan else None
    if record.plan and plan is None:
        raise MisconfiguredError(record, f"no policy has the plan {record.plan!r}")
    return plan


def refused_by(record: KeyRecord, plans: Mapping[str, Plan]) -> str:
    """Why every request of this key is refused under `plans`, alive or not; empty: it is not."""
    if record.plan and record.plan not in plans:
        return f"plan {record.plan} is gone"
    try:
        effective_limits(record, plans)
    except MisconfiguredError:
        return "limits make no sense"
    return ""


def binding_limits(
    record: KeyRecord, plans: Mapping[str, Plan], agent: str | None, *, of_model: bool = False
) -> tuple[NamedLimit, ...]:
    """Every counter that a call to `agent` is checked and charged against, those of tokens (which
    bind a call `of_model` only) and then of concurrency last: they have no place in the headers
    that name the others in order."""
    plan = _plan_of(record, plans)
    at = agent if plan is not None and agent in plan.agents else None
    try:
        return _bound(plan, record.limits, at, of_model)
    except ValueError as problem:
        raise MisconfiguredError(record, f"limits: {problem}") from None


# Keys of one plan share what is made of it: a third of what is remembered of a key.
@lru_cache(maxsize=1024)
def _bound(
    plan: Plan | None, own: str, agent: str | None, of_model: bool
) -> tuple[NamedLimit, ...]:
    limits = limits_under(plan, own)
    named = list(_named(limits, "", ""))
    if of_model:
        named.extend(_named_tokens(limits))
    if plan is not None and agent is not None:
        named.extend(_named(plan.agents[agent], "agent-", f"agent:{agent}"))
    if plan is not None and not plan.enforced:
        enforced = {one.label for one in _named(_own_alone(own, limits), "", "")}
        named = [replace(one, enforced=one.label in enforced) for one in named]
    return tuple(sorted(named, key=lambda one: _LAST.get(type(one.limit), 0)))


def enforced_limits(record: KeyRecord, plans: Mapping[str, Plan]) -> Limits:
    """Those of `effective_limits` that refuse; MisconfiguredError alike."""
    limits, plan = effective_limits(record, plans)
    if plan is None or plan.enforced:
        return limits
    return _own_alone(record.limits, limits)


def _own_alone(own: str, limits: Limits) -> Limits:
    """Of the `limits` of a key, what it sets itself: no plan can let that be."""
    found = limits_grammar.parse_own(own)
    return replace(found, burst=limits.burst if found.rate else None)


def _named_tokens(limits: Limits) -> Iterator[NamedLimit]:
    for quota in limits.tokens:
        label = quota.window.label
        yield NamedLimit(f"tokens-{label}", f"tokens:{label}", quota)


def _named(limits: Limits, prefix: str, place: str) -> Iterator[NamedLimit]:
    counter = f"{place}:" if place else ""
    if limits.rate is not None:
        yield NamedLimit(
            f"{prefix}rate", f"{counter}rate", limits.rate, burst=limits.effective_burst
        )
    for quota in limits.quotas:
        label = quota.window.label
        yield NamedLimit(f"{prefix}{label}", f"{counter}{label}", quota)
    if limits.concurrency is not None:
        yield NamedLimit(f"{prefix}concurrency", place, limits.concurrency)
