"""Warnings about policy files that are known to be valid: oddities that are no mistakes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.references import NO_VARIABLE, OPEN, is_variable
from gateway.protocol.policy.tree import Path, Tree

_PLAN = "this plan is not enforced: what its limits would refuse is reported and let in"
_ROUTE = "this route is not enforced: what it would refuse is reported, and the lines below decide"
_NAME_OF_SECRETS = re.compile(r"authorization|cookie|.*(key|token|secret|password)", re.IGNORECASE)
_LITERAL = (
    "this is sent as it stands, and everybody reads it who reads this file: keep a secret in the "
    "vault, and write ${credentials.NAME}"
)


def warnings(trees: Sequence[Tree], places: Mapping[str, Place]) -> tuple[Problem, ...]:
    """Return all of them. `places`: where each name is defined."""
    return (*_unbound(trees, places), *_unenforced(trees), *_literal(trees))


def _unbound(trees: Iterable[Tree], places: Mapping[str, Place]) -> Iterator[Problem]:
    """Yield the limits of plans at agents that do not exist: likely a mistyped name."""
    for tree in trees:
        for path in _limited_agents(tree.data):
            if f"agents/{path[-1]}" not in places:
                message = f"no agent is called {path[-1]!r}, so this limit binds nobody"
                yield Problem(tree.place(path, key=True), message)


def _limited_agents(file: Mapping[str, Any]) -> Iterator[Path]:
    for plan, fields in file.get("plans", {}).items():
        for agent in fields.get("agents", {}):
            yield "plans", plan, "agents", agent


def _unenforced(trees: Iterable[Tree]) -> Iterator[Problem]:
    """Yield the rules that are not enforced: a reader could take them for protection."""
    for tree in trees:
        for path, message in _shadows(tree.data):
            yield Problem(tree.place((*path, "enforce"), key=True), message)


def _shadows(file: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for name, plan in file.get("plans", {}).items():
        if plan.get("enforce") is False:
            yield ("plans", name), _PLAN
    for name, agent in file.get("agents", {}).items():
        for i, route in enumerate(agent.get("routes", ())):
            if route.get("enforce") is False:
                yield ("agents", name, "routes", i), _ROUTE


def _literal(trees: Iterable[Tree]) -> Iterator[Problem]:
    """Yield the injected values that are a variable of the environment, or have no reference
    although their name is one of secrets: the vault should keep them."""
    for tree in trees:
        for path, text in _injected(tree.data):
            if is_variable(text):
                yield Problem(tree.place(path), NO_VARIABLE)
            elif OPEN not in text and _NAME_OF_SECRETS.fullmatch(str(path[-1])):
                yield Problem(tree.place(path), _LITERAL)


def _injected(file: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    callees = ((s, n, c) for s in ("services", "tools") for n, c in file.get(s, {}).items())
    for section, name, callee in callees:
        for part, fields in callee.get("inject", {}).items():
            for field, text in fields.items() if isinstance(fields, dict) else ():
                yield (section, name, "inject", part, field), text
