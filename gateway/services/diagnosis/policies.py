"""The policies: whether they can be used, and what they mean for living keys."""

from collections.abc import Iterator
from pathlib import Path

from gateway.domain.policies.snapshot import Policies
from gateway.domain.units import counted
from gateway.protocol.policy.read import Loaded
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.policies.orphans import Orphans


def policies_found(directory: Path, loaded: Loaded, orphans: Orphans) -> Iterator[Finding]:
    for problem in loaded.problems:
        yield Finding("policies", Level.WRONG, f"{problem}.")
    for warning in loaded.warnings:
        yield Finding("policies", Level.WARN, f"{warning}.")
    found = loaded.policies
    if found is None:
        return
    sentence = f"{directory} can be used: {contents(found)}, revision {found.revision}."
    yield Finding("policies", Level.OK, sentence)
    for orphaned in orphans.refused:
        advice = "bring the plan back, or 'gateway keys update' their plan or limits."
        yield Finding("policies", Level.WRONG, f"{orphaned}: {advice}")
    for orphaned in orphans.cut_off:
        advice = "take the scope from them, or bring it back."
        yield Finding("policies", Level.WARN, f"{orphaned}: {advice}")


def contents(policies: Policies) -> str:
    """Return how many of each kind there are."""
    parts = {
        "agent": policies.agents,
        "model": policies.models,
        "service": policies.services,
        "tool server": policies.tools,
        "plan": policies.plans,
    }
    return ", ".join(counted(len(part), what) for what, part in parts.items() if part) or "nothing"
