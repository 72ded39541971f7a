"""What a key's record means: whether the key is alive, for whom it may act, which limits apply."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway.domain.errors import Code, GatewayError
from gateway.domain.keys import limits as limits_grammar
from gateway.domain.keys.limits import NO_LIMITS, Concurrency, Limits, Quota, Rate, Tokens
from gateway.domain.keys.record import ACTIVE, CANARY, REVOKED, KeyRecord, unix_time, words
from gateway.domain.policies.plans import Plan
from gateway.domain.units import counted

ANY_USER = "*"
_LAST: Mapping[type, int] = {Tokens: 1, Concurrency: 2}


class MisconfiguredError(GatewayError):
    """A record that makes no sense; `str()` says why, for the operator's log only."""

    def __init__(self, record: KeyRecord, reason: str) -> None:
        super().__init__(f"key {record.id}: {reason}")
        self.record = record


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """One counter. `label`: its name in headers. `counter`: the part of its Redis name after
    `gw:rate:{id}:`, `gw:quota:{id}:` or `gw:lease:{id}:`, which may be empty. `enforced` False: a
    request that exceeds the limit is reported and let in."""

    label: str
    counter: str
    limit: Rate | Quota | Tokens | Concurrency
    burst: int = 0
    enforced: bool = True

    @property
    def denial(self) -> Code:
        """The code of a request that exceeds this limit."""
        match self.limit:
            case Rate():
                return Code.RATE_LIMITED
            case Quota() | Tokens():
                return Code.QUOTA_EXHAUSTED
            case Concurrency():
                return Code.CONCURRENCY_LIMITED

    @property
    def most(self) -> str:
        """The allowance in words, for a caller who is refused."""
        if isinstance(self.limit, Rate | Concurrency):
            return str(self.limit)
        what = "token" if isinstance(self.limit, Tokens) else "request"
        text = f"{counted(self.limit.count, what)} each {self.limit.window.label}"
        return f"{text} at this agent" if self.counter.startswith("agent:") else text


def why_dead(record: KeyRecord, now: float) -> Code | None:
    """Return why a proven key is refused: a decoy (as if it did not exist), revoked, disabled or
    expired, in this order; None if it is alive."""
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
    """Whether the previous secret of a rotation still works."""
    until = unix_time(record.previous_expires_at)
    return bool(record.previous_hash) and until is not None and now < until


def valid_until(record: KeyRecord, *, by_previous: bool) -> int:
    """Return the Unix second from which the presented secret stops working; 0: never."""
    ends = [unix_time(record.expires_at)]
    if by_previous:
        ends.append(unix_time(record.previous_expires_at))
    return min((end for end in ends if end is not None), default=0)


def may_act_for(users: str, user: str) -> bool:
    granted = words(users)
    return ANY_USER in granted or user in granted


def check_consistent(record: KeyRecord) -> None:
    """Raise MisconfiguredError if a number or limit in the record is invalid under any plan."""
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
    """Return the plan's limits with the items in `own` replaced; ValueError if senseless."""
    base = plan.limits if plan else NO_LIMITS
    limits = base.overridden(limits_grammar.parse_own(own))
    if limits.burst is not None and limits.rate is None:
        # The author of this believes that something is limited.
        raise ValueError("'burst' means nothing without 'rate'")
    return limits


def effective_limits(record: KeyRecord, plans: Mapping[str, Plan]) -> tuple[Limits, Plan | None]:
    """Return the record's limits merged over those of its plan, and the plan; MisconfiguredError if
    either cannot be read."""
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
    """Return why every request of this key is refused under `plans`, alive or not; else empty."""
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
    """Return every counter that a call to `agent` is checked and charged against. Token limits,
    which apply only to calls `of_model`, and then concurrency come last, because the headers that
    list the others in order leave them out."""
    plan = _plan_of(record, plans)
    at = agent if plan is not None and agent in plan.agents else None
    try:
        return _bound(plan, record.limits, at, of_model)
    except ValueError as problem:
        raise MisconfiguredError(record, f"limits: {problem}") from None


# Keys of one plan share the result: it is a third of what is remembered of a key.
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
    """Return the `effective_limits` that refuse requests; MisconfiguredError likewise."""
    limits, plan = effective_limits(record, plans)
    if plan is None or plan.enforced:
        return limits
    return _own_alone(record.limits, limits)


def _own_alone(own: str, limits: Limits) -> Limits:
    """Return the `limits` that the key sets itself: a plan cannot leave them unenforced."""
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
