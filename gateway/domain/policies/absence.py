"""Names in scopes and URLs that no policy has, and which one was meant."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.domain.keys.key import masked
from gateway.domain.keys.scopes import ANY, DEFAULT_ACTION, SOME, Scope
from gateway.domain.nearest import nearest
from gateway.domain.policies.snapshot import Agent, Callee, Policies, ToolServer
from gateway.domain.policies.tools import Transport


class Absence(NamedTuple):
    """`name` is what no policy has; `meant` the one that was meant, empty where nobody can tell."""

    name: str
    meant: str

    def __str__(self) -> str:
        """A clause."""
        return f"no policy has {self.name}" + (
            f"; did you mean {self.meant}?" if self.meant else ""
        )


def absence(scope: Scope, policies: Policies) -> Absence | None:
    """What `scope` names and `policies` do not have; None where all of it is there, or nobody can
    know."""
    sections: dict[str, Mapping[str, Callee]] = {
        "agents": policies.agents,
        "models": policies.models,
        "services": policies.services,
        "tools": policies.tools,
    }
    if scope.kind not in sections or scope.name == ANY:
        return None
    place = f"{scope.kind}/{scope.name}"
    callee = sections[scope.kind].get(scope.name)
    if callee is None:
        # A name that is right is of another kind more likely than a slip of the hand.
        kinds = (kind for kind, known in sections.items() if scope.name in known)
        kind, name = next(kinds, scope.kind), scope.name
        if kind == scope.kind:
            name = nearest(name, sections[kind])
        return Absence(masked(place), name and f"{kind}/{name}")
    actions = _actions(callee)
    if actions is None or scope.action in (ANY, SOME, *actions):
        return None
    action = nearest(scope.action, actions)
    return Absence(masked(f"{place}:{scope.action}"), action and f"{place}:{action}")


def _actions(callee: Callee) -> frozenset[str] | None:
    """None: only the server of these tools knows."""
    if isinstance(callee, ToolServer):
        commands = callee.tools.transport is Transport.COMMAND
        return frozenset(tool.name for tool in callee.tools.tools) if commands else None
    if not isinstance(callee, Agent) or callee.routes is None:
        return frozenset({DEFAULT_ACTION})
    return frozenset(route.action for route in callee.routes if not route.public)
