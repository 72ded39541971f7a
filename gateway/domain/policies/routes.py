"""Which route of an agent a request takes: the first match wins, by path and method."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.domain.facts import fact

ONE = b"*"
MANY = b"**"


@fact
class RoutePath:
    """A request's path as routes see it.

    `raw` is the caller's spelling, byte for byte. `segments` are its parts after one
    percent-decode, ASCII case folded, one trailing slash ignored; `/` alone has none.
    """

    raw: bytes
    segments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of an agent's `routes`. `methods` empty: any. `raw` is the pattern as written.
    `enforced` False: a request that lacks the action's scope is reported, and the lines below
    decide."""

    raw: bytes
    segments: tuple[bytes, ...]
    action: str
    methods: frozenset[str] = frozenset()
    public: bool = False
    enforced: bool = True

    @property
    def taken(self) -> str:
        """The methods and the path that it takes, as in `GET /health`."""
        return f"{','.join(sorted(self.methods)) or 'any'} {self.raw.decode()}"

    def __str__(self) -> str:
        line = f"{self.taken} {'(public)' if self.public else self.action}"
        return line if self.enforced else f"{line} (shadow)"

    def matches_path(self, path: RoutePath) -> bool:
        # A public route lets strangers in, so it matches no spelling but its own.
        if self.public:
            if ONE not in self.raw:
                return self.raw == path.raw
            parts = path.raw.split(b"/")
            # `*` stands for one segment; between two slashes, or after the last one, there is none.
            whole = path.raw == self.raw or b"" not in parts[1:]
            return whole and matches(self.raw.split(b"/"), parts)
        return matches(self.segments, path.segments)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Some route has this path, but none takes the method; `methods` would be taken."""

    methods: tuple[str, ...]


def find(routes: Iterable[Route], path: RoutePath, method: str) -> Route | Allowed | None:
    """Return the first route with this path and method; `Allowed` if only the method failed."""
    allowed: set[str] = set()
    for route in routes:
        if not route.matches_path(path):
            continue
        if not route.methods or method in route.methods:
            return route
        allowed |= route.methods
    return Allowed(tuple(sorted(allowed))) if allowed else None


@dataclass(frozen=True, slots=True)
class Tried:
    """A route that is not enforced matched. `below`: the next enforced match, which decides
    instead, if there is one."""

    route: Route
    below: Route | None


def decide(routes: Sequence[Route], path: RoutePath, method: str) -> Route | Tried | Allowed | None:
    """Return what `find` finds; if that is not enforced, with the first enforced match below."""
    found = find(routes, path, method)
    if not isinstance(found, Route) or found.enforced:
        return found
    below = find((route for route in routes if route.enforced), path, method)
    return Tried(found, below if isinstance(below, Route) else None)


def methods_at(routes: Iterable[Route], path: RoutePath) -> frozenset[str] | None:
    """Return every method that some route takes at `path`; None: any method."""
    methods: set[str] = set()
    for route in routes:
        if route.matches_path(path):
            if not route.methods:
                return None
            methods |= route.methods
    return frozenset(methods)


def matches(pattern: Sequence[bytes], segments: Sequence[bytes]) -> bool:
    """Whether `segments` fit `pattern`, in time proportional to their product.

    Greedy with one fallback position, as in file globs: a later `**` never makes it necessary to
    try an earlier one again, so no pattern is slow on any path.
    """
    if MANY not in pattern and len(pattern) != len(segments):
        return False
    p = s = 0
    star = -1
    resume = 0
    while s < len(segments):
        if p < len(pattern) and pattern[p] == MANY:
            # `**` takes at least one segment here, and more only when falling back.
            star, resume = p, s + 1
            p, s = p + 1, s + 1
        elif p < len(pattern) and pattern[p] in (ONE, segments[s]):
            p, s = p + 1, s + 1
        elif star >= 0:
            p, s, resume = star + 1, resume + 1, resume + 1
        else:
            return False
    return p == len(pattern)


def pattern_problem(text: str) -> str:
    """Return what is wrong with a route's path, or the empty string."""
    if not text.startswith("/"):
        return "a route's path begins with '/'"
    for segment in text[1:].split("/"):
        if "*" in segment and segment not in ("*", "**"):
            return "'*' stands for a whole segment and '**' for one or more, never for a part"
        if segment in (".", ".."):
            return "dot segments are refused in requests, so no request can match this"
    if "//" in text:
        return "empty segments ('//') are not matched by any route"
    if any(c in text for c in "?#%;\\") or not text.isprintable():
        return "write the path as it reads, without '?', '#', '%', ';' or '\\'"
    return ""


def parse_path(text: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Return a route's `path` as (raw, segments); `pattern_problem` must have accepted it."""
    raw = text.encode()
    return raw, fold(raw)


def fold(raw: bytes) -> tuple[bytes, ...]:
    """Return the segments of a decoded path: ASCII case folded, one trailing slash ignored."""
    parts = raw.lower().split(b"/")[1:]
    if parts and parts[-1] == b"":
        parts.pop()
    return tuple(parts)
