"""No request is lost or gained by other policies without being told."""

from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Scope, parse_all
from gateway.domain.policies.diff import Comparison
from gateway.domain.policies.routes import Route, RoutePath, find, parse_path
from gateway.domain.policies.snapshot import Agent, Policies, Upstream

METHODS = ("GET", "POST", "DELETE")
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "**"]), max_size=4)
ROUTE = st.tuples(PATTERNS, st.sampled_from(["x", "y"]), st.sets(st.sampled_from(METHODS[:2])))
ROUTES = st.lists(ROUTE, max_size=4) | st.none()
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


def policies(lines: list[tuple[list[str], str, set[str]]] | None) -> Policies:
    routes = None
    if lines is not None:
        routes = tuple(
            Route(*parse_path("/" + "/".join(pattern)), action, frozenset(methods))
            for pattern, action, methods in lines
        )
    agent = Agent("s", (Upstream("http", "127.0.0.1", 1),), routes=routes)
    return Policies(agents=MappingProxyType({"s": agent}))


def let_in(found: Policies, scopes: str, path: list[str], method: str) -> bool:
    routes = found.agents["s"].routes
    action = "invoke"
    if routes is not None:
        raw = ("/" + "/".join(path)).encode()
        route = find(routes, RoutePath(raw, tuple(one.encode() for one in path)), method)
        if not isinstance(route, Route):
            return False
        action = route.action
    return parse_all(scopes).allow(Scope("agents", "s", action))


@settings(max_examples=1000)
@given(ROUTES, ROUTES, st.sampled_from(["agents/s:x", "agents/s", "agents/s:invoke"]), PATHS)
def test_whoever_loses_or_gains_a_request_is_told(
    before: list[tuple[list[str], str, set[str]]] | None,
    after: list[tuple[list[str], str, set[str]]] | None,
    scopes: str,
    path: list[str],
) -> None:
    old, new = policies(before), policies(after)
    change = Comparison(old, new).of(KeyRecord("4xT9mQ2LrB7c", status="active", scopes=scopes))
    for method in METHODS:
        was, now = (let_in(found, scopes, path, method) for found in (old, new))
        if was and not now:
            assert change.lost
        if now and not was:
            assert change.gained
