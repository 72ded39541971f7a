"""What callers may do under two sets of policies, found by trying it with the code that decides
requests, so that the comparison and the decisions cannot disagree."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from enum import Enum, auto
from itertools import combinations, islice

from gateway.domain.keys.scopes import DEFAULT_ACTION, SOME, Grants, Scope
from gateway.domain.policies.overlaps import overlaps
from gateway.domain.policies.routes import MANY, Route, RoutePath, Tried, decide, fold
from gateway.domain.policies.snapshot import Agent, Policies, ToolServer
from gateway.domain.policies.tools import Transport

# Stands for every method that no route names, which routes without methods also take.
OTHER = "any other"
# Paths tried for two lines, however many `**` they hold; and for all lines of an agent, except that
# each pair gets at least one.
MOST_OVERLAPS = 200
MOST_TRIED = 10_000


class Open(Enum):
    """Who has a permission, if no scope decides."""

    NOBODY = auto()
    ANYONE = auto()


# What it takes to be let in.
Need = Scope | Open


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that callers may do at `place`, such as `agents/support`, with what it needed
    `before` and needs `after`.

    `what`: a route's path, `as <host>`, or empty: the place as a whole. `method`: only for routes;
    `methods`: how many were tried there. `within`: the lines whose own entry covers this one.
    """

    place: str
    what: str
    before: Need
    after: Need
    method: str = ""
    methods: int = 0
    within: tuple[str, ...] = ()


def is_open(need: Need, grants: Grants | None) -> bool:
    """Whether a key with `grants`, or a caller without a key (None), is let in."""
    if isinstance(need, Open):
        return need is Open.ANYONE
    return grants is not None and grants.allow(need)


def changed_permissions(before: Policies, after: Policies) -> tuple[Permission, ...]:
    """Return every permission whose need has changed, each once."""
    permissions = dict.fromkeys(_permissions(before, after))
    return tuple(one for one in permissions if one.before != one.after)


def _permissions(before: Policies, after: Policies) -> Iterator[Permission]:
    for name in _names(before.agents, after.agents):
        yield from _of_agent(before.agents.get(name), after.agents.get(name))
    for kind, old, new in (
        ("services", before.services, after.services),
        ("models", before.models, after.models),
    ):
        for name in _names(old, new):
            scope = Scope(kind, name, DEFAULT_ACTION)
            yield _permission(f"{kind}/{name}", "", scope, name in old, name in new)
    for name in _names(before.tools, after.tools):
        yield from _of_tools(name, before.tools.get(name), after.tools.get(name))


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return sorted(before.keys() | after.keys())


def _permission(place: str, what: str, need: Need, was: bool, now: bool) -> Permission:
    """Return a permission that either set may lack, and that needs the same in both."""
    return Permission(place, what, need if was else Open.NOBODY, need if now else Open.NOBODY)


def _of_agent(old: Agent | None, new: Agent | None) -> Iterator[Permission]:
    if old and new:
        yield from _of_routes(old, new)
        yield from _of_hosts(old, new)
    elif one := old or new:
        yield from _of_agent_alone(one, old, new)


def _of_agent_alone(one: Agent, old: Agent | None, new: Agent | None) -> Iterator[Permission]:
    """Yield the permissions of an agent that only one set has: by action, because it may have any
    number of routes. If a route is not enforced, actions do not tell who is let in, so each route
    is tried."""
    if not all(route.enforced for route in one.routes or ()):
        nothing = replace(one, routes=())
        yield from _of_routes(old or nothing, new or nothing)
        return
    was, now = old is not None, new is not None
    for route in one.routes or ():
        if route.public:
            yield _permission(f"agents/{one.name}", route.taken, Open.ANYONE, was, now)
    actions = (
        {DEFAULT_ACTION}
        if one.routes is None
        else {route.action for route in one.routes if not route.public}
    )
    for action in sorted(actions):
        scope = Scope("agents", one.name, action)
        yield _permission(str(scope), "", scope, was, now)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One line of either set. `what`: as it is written. `methods`: those that are tried on it.
    `spelled`: its segments in their original case."""

    what: str
    raw: bytes
    segments: tuple[bytes, ...]
    methods: tuple[str, ...]

    @property
    def spelled(self) -> tuple[bytes, ...]:
        return tuple(self.raw.split(b"/")[1 : len(self.segments) + 1])


def _of_routes(old: Agent, new: Agent) -> Iterator[Permission]:
    """Try every path where two lines of either set overlap, one of which was moved. That is enough:
    for any request, the line that took it before and the line that takes it now both match such a
    path, and no earlier line does."""
    if old.routes == new.routes:
        return
    every = (*(old.routes or ()), *(new.routes or ()))
    named = tuple(sorted(frozenset[str]().union(*(route.methods for route in every))))
    anywhere = _EVERY_PATH if old.routes is None or new.routes is None else ()
    patterns = _patterns(every, named) | dict.fromkeys(anywhere)
    moved = _patterns(_moved(old.routes or (), new.routes or ()), named) | dict.fromkeys(anywhere)
    pairs = [pair for pair in combinations(patterns, 2) if not moved.keys().isdisjoint(pair)]
    pairs = [*zip(patterns, patterns, strict=True), *pairs]
    longest = max(len(pattern.segments) for pattern in patterns) + 1
    most = max(1, min(MOST_OVERLAPS, MOST_TRIED // len(pairs)))
    known: dict[bytes, tuple[Agent, Agent]] = {}
    for one, other in pairs:
        within = (one.what, other.what) if one.segments != other.segments else ()
        methods = [m for m in one.methods or (*named, OTHER) if m in (other.methods or (m,))]
        for path in _overlaps(one, other, longest, most) if methods else ():
            if path.raw not in known:
                known[path.raw] = _having(old, path), _having(new, path)
            before, after = known[path.raw]
            what = path.raw.decode() if within else one.what
            for method in methods:
                needs = _at_route(before, path, method), _at_route(after, path, method)
                yield Permission(f"agents/{new.name}", what, *needs, method, len(named) + 1, within)


def _moved(old: Sequence[Route], new: Sequence[Route]) -> Iterator[Route]:
    """Yield lines that one set lacks or has elsewhere: all other lines decide alike in both."""
    lines = SequenceMatcher(None, old, new, autojunk=False)
    for kind, start, end, begin, stop in lines.get_opcodes():
        if kind != "equal":
            yield from (*old[start:end], *new[begin:stop])


def _having(agent: Agent, path: RoutePath) -> Agent:
    """Return `agent` as a request for `path` sees it, with only the lines that match."""
    if agent.routes is None:
        return agent
    return replace(agent, routes=tuple(one for one in agent.routes if one.matches_path(path)))


def _patterns(routes: Iterable[Route], named: tuple[str, ...]) -> dict["_Pattern", None]:
    return dict.fromkeys(_pattern(route, (*named, OTHER)) for route in routes)


def _pattern(route: Route, methods: tuple[str, ...]) -> _Pattern:
    taken = tuple(sorted(route.methods)) or methods
    return _Pattern(route.raw.decode(), route.raw, route.segments, taken)


def _overlaps(one: _Pattern, other: _Pattern, longest: int, most: int) -> Iterator[RoutePath]:
    if one.segments == other.segments and MANY not in one.segments:
        yield RoutePath(one.raw, one.segments)
    spelled = [(one.segments, other.segments)]
    if one.spelled != one.segments or other.spelled != other.segments:
        # A public route matches no spelling but its own.
        spelled += ((one.spelled, other.spelled), (other.spelled, one.spelled))
    for first, second in spelled:
        for segments in islice(overlaps(first, second, longest), most):
            raw = b"/" + b"/".join(segments)
            yield RoutePath(raw, fold(raw))


def _at_route(agent: Agent, path: RoutePath, method: str) -> Need:
    if agent.routes is None:
        return Scope(agent.kind, agent.name, DEFAULT_ACTION)
    route = decide(agent.routes, path, method)
    if isinstance(route, Tried):
        if route.below is None:
            return Scope(agent.kind, agent.name, SOME)
        route = route.below
    if not isinstance(route, Route):
        return Open.NOBODY
    return Open.ANYONE if route.public else Scope(agent.kind, agent.name, route.action)


_EVERY_PATH = (
    _Pattern("/", b"/", (), ()),
    _Pattern("every other path", b"/**", (MANY,), ()),
)


def _of_hosts(old: Agent, new: Agent) -> Iterator[Permission]:
    scope = Scope("agents", new.name, SOME)
    for host in sorted({*old.hosts, *new.hosts}):
        yield _permission(
            f"agents/{new.name}", f"as {host}", scope, host in old.hosts, host in new.hosts
        )


def _of_tools(name: str, old: ToolServer | None, new: ToolServer | None) -> Iterator[Permission]:
    """Yield a permission for each tool of a server whose tools are commands. Other servers' tools
    are not known, only that the server exists."""
    named = {tool.name for server in (old, new) if server for tool in server.tools.tools}
    for action in sorted(named) or (SOME,):
        scope = Scope("tools", name, action)
        yield _permission(str(scope), "", scope, _has_tool(old, action), _has_tool(new, action))


def _has_tool(server: ToolServer | None, name: str) -> bool:
    if server is None:
        return False
    served = server.tools
    return served.transport is not Transport.COMMAND or name in {tool.name for tool in served.tools}
