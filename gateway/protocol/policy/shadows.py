"""Rules that are not enforced: a reader of the file could take them for protection."""

from collections.abc import Iterable, Iterator

from gateway.domain.policies.problems import Problem
from gateway.protocol.policy.tree import Path, Tree

_PLAN = "this plan is not enforced: what its limits would refuse is reported and let in"
_ROUTE = "this route is not enforced: what it would refuse is reported, and the lines below decide"


def shadows(trees: Iterable[Tree]) -> tuple[Problem, ...]:
    """Return a warning for each rule with `enforce: false` in files that are known to be valid."""
    return tuple(
        Problem(tree.place((*path, "enforce"), key=True), message)
        for tree in trees
        for path, message in _found(tree.data)
    )


def _found(data: object) -> Iterator[tuple[Path, str]]:
    file = data if isinstance(data, dict) else {}
    for name, plan in (file.get("plans") or {}).items():
        if plan.get("enforce") is False:
            yield ("plans", name), _PLAN
    for name, agent in (file.get("agents") or {}).items():
        for i, route in enumerate(agent.get("routes") or ()):
            if route.get("enforce") is False:
                yield ("agents", name, "routes", i), _ROUTE
