"""What a key may ask for under the policies, and who may be sent a credential: rules alone, no
record of what happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain.credentials import CredentialId
from gateway.domain.keys.scopes import ANY, SOME, Grants, Scope
from gateway.domain.policies.references import Reference
from gateway.domain.policies.snapshot import DEFAULT_ACTION, Agent, Policies

_PULL = "credentials"


@dataclass(frozen=True, slots=True)
class Reachable:
    """A place that a key may ask for. `actions`: what it may do there; `*`: whatever there is.

    `routes`: of an agent that lists them, those that it may take; one that is public takes no key
    and is not among them. `credentials`: what the gateway puts into such calls, `user/*/NAME` the
    calling user's own; or what the key may pull.
    """

    kind: str
    name: str
    actions: tuple[str, ...]
    routes: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()


def reach(policies: Policies, grants: Grants) -> tuple[Reachable, ...]:
    """Every place that `grants` open, and powers over the gateway itself."""
    return (*_places(policies, grants), *_powers(grants))


def places_of(policies: Policies, credential: CredentialId) -> tuple[str, ...]:
    """Services, models and tools whose calls may be sent this credential."""
    return tuple(
        f"{agent.kind}/{agent.name}"
        for agent in _outbound(policies)
        if any(_means(reference, credential) for reference in _references(agent, policies))
    )


def _places(policies: Policies, grants: Grants) -> Iterator[Reachable]:
    for agent in (*policies.agents.values(), *_outbound(policies)):
        if not grants.allow(Scope(agent.kind, agent.name, SOME)):
            continue
        actions, routes = _doors(agent, grants)
        if not actions and agent.tools is None:
            continue
        credentials = dict.fromkeys(map(_spelled, _references(agent, policies)))
        yield Reachable(agent.kind, agent.name, actions, routes, tuple(credentials))


def _doors(agent: Agent, grants: Grants) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The actions and the routes that `grants` open at `agent`."""

    def allowed(action: str) -> bool:
        return grants.allow(Scope(agent.kind, agent.name, action))

    if agent.tools is not None:
        return _tools(agent, grants), ()
    if agent.routes is None:
        return ((DEFAULT_ACTION,) if allowed(DEFAULT_ACTION) else ()), ()
    # A line that is tried out refuses nobody who has to do with this agent.
    open_ones = [
        one for one in agent.routes if not one.public and (allowed(one.action) or not one.enforced)
    ]
    return tuple(dict.fromkeys(one.action for one in open_ones)), tuple(map(str, open_ones))


def _tools(agent: Agent, grants: Grants) -> tuple[str, ...]:
    """Names of single tools; a server that is somebody else's says by itself which it has."""
    if grants.allow(Scope(agent.kind, agent.name, ANY)):
        return (ANY,)
    own = {tool.name for tool in agent.tools.tools} if agent.tools is not None else set()
    named = (
        one.action
        for one in grants.scopes
        if one.kind == agent.kind and one.name in (ANY, agent.name)
    )
    return tuple(dict.fromkeys(action for action in named if not own or action in own))


def _powers(grants: Grants) -> Iterator[Reachable]:
    for scope in grants.scopes:
        # `gateway/*` grants nothing.
        if scope.kind != "gateway" or scope.name == ANY:
            continue
        pulled = (scope.action,) if scope.name == _PULL else ()
        yield Reachable(scope.kind, scope.name, (scope.action,), credentials=pulled)


def _outbound(policies: Policies) -> tuple[Agent, ...]:
    return (
        *policies.models.values(),
        *policies.services.values(),
        *policies.tools.values(),
    )


def _references(agent: Agent, policies: Policies) -> Iterator[Reference]:
    """Those of the models that stand in for it too: a call may be answered by them."""
    others = (policies.models.get(name) for name in agent.fallback)
    for one in (agent, *others):
        if one is not None and one.inject is not None:
            yield from one.inject.references


def _means(reference: Reference, credential: CredentialId) -> bool:
    return reference.name == credential.name and reference.of_user is bool(credential.owner)


def _spelled(reference: Reference) -> str:
    return f"user/*/{reference.name}" if reference.of_user else reference.name
