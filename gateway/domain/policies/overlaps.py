"""Where the path patterns of two routes overlap: paths that both match."""

from collections.abc import Iterator, Sequence

from gateway.domain.policies.routes import MANY, ONE

# How far two patterns have been followed: the index in each.
_State = tuple[int, int]


def overlaps(
    one: Sequence[bytes], other: Sequence[bytes], longest: int
) -> Iterator[tuple[bytes, ...]]:
    """Yield paths of up to `longest` segments that both patterns match whatever the case, shortest
    first, each once. Where both have a wildcard the path has a `*`, which no literal matches, so
    that a path matches as few other patterns as possible. Literals are spelled as `one` has them,
    if it has them.

    No path is begun that cannot be finished, so each costs no more than its length, whatever the
    patterns.
    """
    lengths = _lengths(one, other, longest)
    for length in range(longest + 1):
        if lengths[0][0] >> length & 1:
            yield from _walk(one, other, lengths, length)


def _lengths(one: Sequence[bytes], other: Sequence[bytes], longest: int) -> list[list[int]]:
    """Return, for each state, the numbers of segments that can still follow: bit n for n."""
    every = (1 << longest + 1) - 1
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    lengths[-1][-1] = 1
    for i in reversed(range(len(one))):
        for j in reversed(range(len(other))):
            if not _segment(one[i], other[j]):
                continue
            for after, beyond in _following(one, other, (i, j)):
                lengths[i][j] |= lengths[after][beyond] << 1 & every
            if one[i] == other[j] == MANY:
                # Both may repeat as often as they like.
                found = lengths[i][j]
                lengths[i][j] = every & -(found & -found)
    return lengths


def _walk(
    one: Sequence[bytes], other: Sequence[bytes], lengths: list[list[int]], length: int
) -> Iterator[tuple[bytes, ...]]:
    """Yield the paths of this length. Several states may be possible after the segments so far."""
    waiting: list[tuple[tuple[bytes, ...], set[_State]]] = [((), {(0, 0)})]
    while waiting:
        path, states = waiting.pop()
        left = length - len(path) - 1
        if left < 0:
            yield path
            continue
        following: dict[bytes, set[_State]] = {}
        for i, j in sorted(states):
            for after in _following(one, other, (i, j)):
                if lengths[after[0]][after[1]] >> left & 1:
                    following.setdefault(_segment(one[i], other[j]), set()).add(after)
        waiting += (((*path, segment), after) for segment, after in following.items())


def _following(one: Sequence[bytes], other: Sequence[bytes], state: _State) -> Iterator[_State]:
    i, j = state
    for after in (i + 1, i) if one[i] == MANY else (i + 1,):
        for beyond in (j + 1, j) if other[j] == MANY else (j + 1,):
            yield after, beyond


def _segment(first: bytes, second: bytes) -> bytes:
    """Return the segment that both match there; empty if there is none."""
    wild = (ONE, MANY)
    if first in wild:
        return ONE if second in wild else second
    return first if second in wild or first.lower() == second.lower() else b""
