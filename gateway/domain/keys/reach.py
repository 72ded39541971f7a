"""What a key may reach under the policies, and which places may receive a credential. This looks at
rules only, not at what happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain.credentials import CredentialId
from gateway.domain.keys.scopes import ANY, DEFAULT_ACTION, SOME, Grants, Scope
from gateway.domain.policies.references import Reference
from gateway.domain.policies.snapshot import Agent, Model, Outbound, Policies, ToolServer

_PULL = "credentials"


@dataclass(frozen=True, slots=True)
class Reachable:
    """A place that a key may call. `actions`: the allowed actions; `*`: all.

    `routes`: for an agent that lists routes, those that the key may take; public routes need no key
    and are left out. `credentials`: what the gateway injects into such calls, where `user/*/NAME`
    is the calling user's own; or what the key may pull.
    """

    kind: str
    name: str
    actions: tuple[str, ...]
    routes: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()


def reach(policies: Policies, grants: Grants) -> tuple[Reachable, ...]:
    """Return every place that `grants` open, and the powers over the gateway itself."""
    return (*_places(policies, grants), *_powers(grants))


def places_of(policies: Policies, credential: CredentialId) -> tuple[str, ...]:
    """Return the services, models and tools whose calls may receive this credential."""
    return tuple(
        one.place
        for one in _outbound(policies)
        if any(_means(reference, credential) for reference in _references(one, policies))
    )


def _places(policies: Policies, grants: Grants) -> Iterator[Reachable]:
    for agent in policies.agents.values():
        actions, routes = _doors(agent, grants)
        if actions:
            yield Reachable("agents", agent.name, actions, routes)
    for one in _outbound(policies):
        if isinstance(one, ToolServer):
            needed, actions = SOME, _tools(one, grants)
        else:
            needed, actions = DEFAULT_ACTION, (DEFAULT_ACTION,)
        if grants.allow(Scope(one.kind, one.name, needed)):
            credentials = dict.fromkeys(map(_spelled, _references(one, policies)))
            yield Reachable(one.kind, one.name, actions, credentials=tuple(credentials))


def _doors(agent: Agent, grants: Grants) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the actions and the routes that `grants` open at `agent`."""

    def allowed(action: str) -> bool:
        return grants.allow(Scope("agents", agent.name, action))

    if agent.routes is None:
        return ((DEFAULT_ACTION,) if allowed(DEFAULT_ACTION) else ()), ()
    # A route that is not enforced refuses no key that has any scope at this agent.
    open_ones = [
        one
        for one in agent.routes
        if not one.public and allowed(one.action if one.enforced else SOME)
    ]
    return tuple(dict.fromkeys(one.action for one in open_ones)), tuple(map(str, open_ones))


def _tools(server: ToolServer, grants: Grants) -> tuple[str, ...]:
    """Return names of single tools. Only an external server itself knows which tools it has."""
    if grants.allow(Scope(server.kind, server.name, ANY)):
        return (ANY,)
    own = {tool.name for tool in server.tools.tools}
    named = (
        one.action
        for one in grants.scopes
        if one.kind == server.kind and one.name in (ANY, server.name)
    )
    return tuple(dict.fromkeys(action for action in named if not own or action in own))


def _powers(grants: Grants) -> Iterator[Reachable]:
    for scope in grants.scopes:
        # `gateway/*` grants nothing.
        if scope.kind != "gateway" or scope.name == ANY:
            continue
        pulled = (scope.action,) if scope.name == _PULL else ()
        yield Reachable(scope.kind, scope.name, (scope.action,), credentials=pulled)


def _outbound(policies: Policies) -> tuple[Outbound, ...]:
    return (
        *policies.models.values(),
        *policies.services.values(),
        *policies.tools.values(),
    )


def _references(one: Outbound, policies: Policies) -> Iterator[Reference]:
    """Yield the references of the model and of its fallbacks, which may answer for it."""
    yield from one.inject.references
    for name in one.fallback if isinstance(one, Model) else ():
        if other := policies.models.get(name):
            yield from other.inject.references


def _means(reference: Reference, credential: CredentialId) -> bool:
    return reference.name == credential.name and reference.of_user is bool(credential.owner)


def _spelled(reference: Reference) -> str:
    return f"user/*/{reference.name}" if reference.of_user else reference.name
