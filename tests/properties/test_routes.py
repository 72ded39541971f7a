"""Matching of routes agrees with the plainest reading of the rules."""

from collections.abc import Sequence
from time import perf_counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.policies.routes import (
    Allowed,
    Route,
    RoutePath,
    find,
    fold,
    matches,
    parse_path,
)
from gateway.protocol.http.target import route_path

SEGMENTS = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=7)
PATTERNS = st.lists(st.sampled_from([b"a", b"b", b"*", b"**"]), max_size=6)
METHODS = ("GET", "POST", "PUT")


def plainly(pattern: Sequence[bytes], segments: Sequence[bytes]) -> bool:
    """`*` is one segment, `**` one or more, anything else itself."""
    if not pattern:
        return not segments
    if not segments:
        return False
    if pattern[0] == b"**":
        return any(plainly(pattern[1:], segments[n:]) for n in range(1, len(segments) + 1))
    return pattern[0] in (b"*", segments[0]) and plainly(pattern[1:], segments[1:])


@settings(max_examples=1500)
@given(PATTERNS, SEGMENTS)
def test_a_pattern_matches_what_it_says(pattern: list[bytes], segments: list[bytes]) -> None:
    assert matches(pattern, segments) == plainly(pattern, segments)


ROUTES = st.lists(st.tuples(PATTERNS, st.sets(st.sampled_from(METHODS)), st.booleans()), max_size=5)


@settings(max_examples=500)
@given(ROUTES, SEGMENTS, st.sampled_from(METHODS))
def test_the_first_route_with_this_path_and_method_is_the_one(
    lines: list[tuple[list[bytes], set[str], bool]], segments: list[bytes], method: str
) -> None:
    raw = b"/" + b"/".join(segments)
    routes = [
        Route(*parse_path("/" + b"/".join(pattern).decode()), f"r{i}", frozenset(methods), public)
        for i, (pattern, methods, public) in enumerate(lines)
    ]
    fitting = [(i, m) for i, (p, m, _) in enumerate(lines) if plainly(p or [], segments)]
    first = next((i for i, m in fitting if not m or method in m), None)
    found = find(routes, RoutePath(raw, tuple(segments)), method)
    if first is not None:
        assert isinstance(found, Route)
        assert found.action == f"r{first}"
    elif fitting:
        assert isinstance(found, Allowed)
        assert set(found.methods) == set().union(*(m for _, m in fitting))
    else:
        assert found is None


@given(SEGMENTS.filter(bool))
def test_case_escapes_and_one_trailing_slash_make_no_difference_but_to_public_routes(
    segments: list[bytes],
) -> None:
    plain = b"/" + b"/".join(segments)
    spellings = [
        plain.upper(),
        plain + b"/",
        b"/" + b"/".join(b"".join(b"%%%02x" % byte for byte in s) for s in segments),
    ]
    closed = Route(plain, fold(plain), "x")
    public = Route(plain, fold(plain), "x", public=True)
    assert closed.matches_path(route_path(plain))
    assert public.matches_path(route_path(plain))
    for spelled in spellings:
        assert closed.matches_path(route_path(spelled))
        assert not public.matches_path(route_path(spelled))


def test_no_pattern_is_slow_on_any_path() -> None:
    pattern = [b"**", b"a"] * 40 + [b"b"]
    start = perf_counter()
    assert not matches(pattern, [b"a"] * 4000)
    assert perf_counter() - start < 1.0
