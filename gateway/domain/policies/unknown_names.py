"""Names in scopes and URLs that no policy defines, and the likely intended name."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.domain.keys.key import masked
from gateway.domain.keys.scopes import ANY, DEFAULT_ACTION, SOME, Scope
from gateway.domain.nearest import nearest
from gateway.domain.policies.snapshot import Agent, Callee, Policies, ToolServer
from gateway.domain.policies.tools import Transport


class UnknownName(NamedTuple):
    """`name`: what no policy has. `meant`: the likely intended name, empty if there is none."""

    name: str
    meant: str

    def __str__(self) -> str:
        """Return this as a clause of a sentence."""
        return f"no policy has {self.name}" + (
            f"; did you mean {self.meant}?" if self.meant else ""
        )


def unknown_name(scope: Scope, policies: Policies) -> UnknownName | None:
    """Return what `scope` names and `policies` lack; None if nothing, or if nobody can know."""
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
        # An exact name of another kind is more likely than a typing mistake.
        kinds = (kind for kind, known in sections.items() if scope.name in known)
        kind, name = next(kinds, scope.kind), scope.name
        if kind == scope.kind:
            name = nearest(name, sections[kind])
        return UnknownName(masked(place), name and f"{kind}/{name}")
    actions = _actions(callee)
    if actions is None or scope.action in (ANY, SOME, *actions):
        return None
    action = nearest(scope.action, actions)
    return UnknownName(masked(f"{place}:{scope.action}"), action and f"{place}:{action}")


def _actions(callee: Callee) -> frozenset[str] | None:
    """Return the known actions; None if only the tool server itself knows them."""
    if isinstance(callee, ToolServer):
        commands = callee.tools.transport is Transport.COMMAND
        return frozenset(tool.name for tool in callee.tools.tools) if commands else None
    if not isinstance(callee, Agent) or callee.routes is None:
        return frozenset({DEFAULT_ACTION})
    return frozenset(route.action for route in callee.routes if not route.public)
