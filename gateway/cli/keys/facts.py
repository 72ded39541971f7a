"""The facts about one key, for people and for programs. No hash and no tag is ever printed."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gateway.cli.output import moment, print_facts, print_json
from gateway.domain.keys import judgement
from gateway.domain.keys.judgement import MisconfiguredError
from gateway.domain.keys.limits import Limits
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.views import KeyView
from gateway.domain.policies.plans import Plan
from gateway.store.key_reader import LastUsed

TIMES = {"expires_at", "grace_until", "created_at", "rotated_at", "revoked_at"}
TIMES |= {"last_used_at", "previous_last_used_at", "removed_at"}


def all_facts(
    record: KeyRecord,
    key: KeyView,
    used: LastUsed,
    removed_at: int | None,
    plans: Mapping[str, Plan] | None,
) -> dict[str, Any]:
    """Return what `show` prints as JSON. `effective_limits` is null if the policies cannot be read;
    it leaves out a plan that is not enforced."""
    limits, problem = (None, "") if plans is None else _effective(record, plans)
    return asdict(key) | {
        "problem": key.problem or problem,
        "effective_limits": limits,
        "last_used_at": used.current,
        "previous_last_used_at": used.previous,
        "removed_at": removed_at,
    }


def print_key(key: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(key)
    else:
        print_facts((name.replace("_", " "), _text(name, value)) for name, value in key.items())


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in TIMES:
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(k, v)}" for k, v in value.items() if v)
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    return str(value)


def _effective(record: KeyRecord, plans: Mapping[str, Plan]) -> tuple[dict[str, Any] | None, str]:
    try:
        limits = judgement.enforced_limits(record, plans)
    except MisconfiguredError as problem:
        return None, str(problem)
    plan = plans.get(record.plan)
    agents = plan.agents if plan and plan.enforced else {}
    return limit_facts(limits) | {
        "agents": {name: limit_facts(own) for name, own in agents.items()}
    }, ""


def limit_facts(limits: Limits) -> dict[str, Any]:
    return {
        "rate": str(limits.rate) if limits.rate else None,
        "burst": limits.effective_burst or None,
        "quota": [str(quota) for quota in limits.quotas],
        "tokens": [str(quota) for quota in limits.tokens],
        "concurrency": limits.concurrency.count if limits.concurrency else None,
    }
