"""What another set of policies would change: in its parts, and which keys gain or lose."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction

from gateway.domain.keys.judgement import enforced_limits, refused_by
from gateway.domain.keys.limits import NO_LIMITS, Limits
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import SOME, Grants, Scope, parse_all
from gateway.domain.policies.permissions import (
    OTHER,
    Open,
    Permission,
    changed_permissions,
    is_open,
)
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Policies

NONE = "none"
_SECTIONS = ("agents", "services", "models", "tools", "plans")


@dataclass(frozen=True, slots=True)
class Structure:
    """Differences between the files, by names such as `agents/support`; `changed`: by part."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]

    @property
    def is_same(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class LimitChange:
    """`limit` as headers name it, with the agent's name before that of its own. `none`: no
    limit."""

    limit: str
    before: str
    after: str
    stricter: bool

    def __str__(self) -> str:
        return f"{self.limit} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class KeyDiff:
    """What changes for one key. `refused`: why none of its requests would be let in any more, which
    makes the rest irrelevant. `accepted`: why none was let in until now."""

    refused: str = ""
    accepted: str = ""
    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    limits: tuple[LimitChange, ...] = ()

    @property
    def loses(self) -> bool:
        return bool(self.refused or self.lost) or any(limit.stricter for limit in self.limits)


UNCHANGED = KeyDiff()


class Comparison:
    """Two sets of policies, compared once: each key then costs their differences only."""

    def __init__(self, before: Policies, after: Policies) -> None:
        self.structure = _structure(before, after)
        self._before, self._after = before, after
        self._permissions = changed_permissions(before, after)

    def strangers(self) -> KeyDiff:
        """Return what changes for callers without a key."""
        return self._reach(None)

    def of(self, record: KeyRecord) -> KeyDiff:
        """Return what changes for a living key. It depends on its scopes, plan and limits only."""
        was, now = refused_by(record, self._before.plans), refused_by(record, self._after.plans)
        if was and now:
            return UNCHANGED
        if was or now:
            return KeyDiff(refused=now, accepted=was)
        grants = parse_all(record.scopes)
        reach = self._reach(grants)
        limits = tuple(_limit_changes(record, grants, self._before, self._after))
        return KeyDiff(lost=reach.lost, gained=reach.gained, limits=limits)

    def _reach(self, grants: Grants | None) -> KeyDiff:
        lost, gained = [], []
        for one in self._permissions:
            was, now = is_open(one.before, grants), is_open(one.after, grants)
            if was and not now:
                lost.append(one)
            elif now and not was:
                gained.append(one)
        return KeyDiff(lost=tuple(_combined(lost)), gained=tuple(_combined(gained)))


def _combined(permissions: Iterable[Permission]) -> Iterator[str]:
    """Yield the permissions by name, with the methods of one path combined. A part of a line is
    left out where the line itself is listed."""
    permissions = list(permissions)
    listed = {(one.place, one.what, one.method) for one in permissions if not one.within}
    together: dict[tuple[str, str, str], dict[str, Permission]] = {}
    for one in permissions:
        if not any((one.place, line, one.method) in listed for line in one.within):
            public = "(public)" if Open.ANYONE in (one.before, one.after) else ""
            together.setdefault((one.place, one.what, public), {})[one.method] = one
    for (place, what, public), methods in together.items():
        one = next(iter(methods.values()))
        spelled = ",".join(sorted(methods, key=lambda method: (method == OTHER, method)))
        if one.methods and len(methods) == one.methods:
            spelled = "any"
        yield " ".join(filter(None, (place, spelled, what, public)))


def _structure(before: Policies, after: Policies) -> Structure:
    added: list[str] = []
    removed: list[str] = []
    changed: dict[str, tuple[str, ...]] = {}
    for section in _SECTIONS:
        old, new = getattr(before, section), getattr(after, section)
        added += (f"{section}/{name}" for name in sorted(new.keys() - old.keys()))
        removed += (f"{section}/{name}" for name in sorted(old.keys() - new.keys()))
        for name in sorted(old.keys() & new.keys()):
            if parts := _differing(old[name], new[name]):
                changed[f"{section}/{name}"] = parts
    if before.trusted_proxies != after.trusted_proxies:
        changed["trusted_proxies"] = ()
    return Structure(tuple(added), tuple(removed), changed)


def _differing(old: object, new: object) -> tuple[str, ...]:
    """Return field names only: their values may be confidential."""
    names = (one.name for one in fields(type(old)) if one.compare)  # type: ignore[arg-type]
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))


def _limit_changes(
    record: KeyRecord, grants: Grants, before: Policies, after: Policies
) -> Iterator[LimitChange]:
    old, new = (enforced_limits(record, policies.plans) for policies in (before, after))
    yield from compare_limits(old, new)
    at_old, at_new = (_at_agents(policies.plans.get(record.plan)) for policies in (before, after))
    for agent in sorted(at_old.keys() | at_new.keys()):
        if agent in after.agents and grants.allow(Scope("agents", agent, SOME)):
            there = at_old.get(agent, NO_LIMITS), at_new.get(agent, NO_LIMITS)
            yield from compare_limits(*there, f"{agent}: ")


def _at_agents(plan: Plan | None) -> Mapping[str, Limits]:
    return plan.agents if plan and plan.enforced else {}


def compare_limits(before: Limits, after: Limits, prefix: str = "") -> Iterator[LimitChange]:
    """Yield each limit that differs, with `prefix` before its name."""
    old, new = _items(before), _items(after)
    for name in dict.fromkeys((*old, *new)):
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            if name != "burst":
                texts = was[0] if was else NONE, now[0] if now else NONE
                yield LimitChange(f"{prefix}{name}", *texts, stricter=was is None)
        elif was[1] != now[1]:
            yield LimitChange(f"{prefix}{name}", was[0], now[0], stricter=now[1] < was[1])


def _items(limits: Limits) -> dict[str, tuple[str, Fraction]]:
    """Return for each limit how it is written, and how much it allows."""
    items: dict[str, tuple[str, Fraction]] = {}
    if limits.rate is not None:
        burst = limits.effective_burst
        items["rate"] = str(limits.rate), Fraction(limits.rate.count, limits.rate.per)
        items["burst"] = str(burst), Fraction(burst)
    for quota in limits.quotas:
        items[quota.window.label] = str(quota), Fraction(quota.count)
    for tokens in limits.tokens:
        items[f"tokens-{tokens.window.label}"] = str(tokens), Fraction(tokens.count)
    if limits.concurrency is not None:
        items["concurrency"] = str(limits.concurrency), Fraction(limits.concurrency.count)
    return items
