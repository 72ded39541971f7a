"""Secrets in a stream of bytes are replaced, however the stream is cut into pieces.

A secret is looked for as it is and in the spellings that programs give to what they echo: base64
at each of its three alignments, URL-encoded, byte by byte in hex and in numbers, JSON, HTML; and in
all of them as if what came were one line, because base64 and hex are folded at some width. The end
of what came is held back until more comes, as far as any secret could reach: how much that is does
not depend on what stands there, or a caller who has guesses echoed piece by piece would learn from
it how good they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from gateway.protocol.spellings import SHORTEST, spellings

# As good as every event of a stream ends in one of these: few secrets have a brace in them, and
# those of several lines, as private keys, hardly an empty one.
_OBJECT_ENDS = (b"}\n", b"}\r")
_EMPTY_LINES = (b"\n\n", b"\r\r", b"\n\r")

# The number of a spelling, and where in a text it begins and ends.
Match = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Patterns:
    """`found`: looks for all `spelled` at once, and of two that begin at one place takes the
    longer one; none has an end of a line in it. `names`: what stands for each. `longest`: the
    length of the longest one. `ends`: ends of objects, and empty lines, that none of them is looked
    for across in a stream."""

    found: BytesAhoCorasick = field(repr=False)
    spelled: Sequence[bytes] = field(repr=False)
    names: Sequence[bytes] = field(repr=False)
    longest: int
    ends: tuple[bytes, ...]

    def matches(self, text: bytes) -> Sequence[Match]:
        """Where secrets are, in order, whatever ends of lines they are split by; none overlaps
        another."""
        bare = text.replace(b"\n", b"").replace(b"\r", b"")
        found = self.found.find_matches_as_indexes(bare)
        return list(_with_line_ends(text, found)) if found and len(bare) < len(text) else found

    def replaced(self, whole: bytes) -> bytes:
        """`whole`, with every secret in it replaced."""
        shown: list[bytes] = []
        at = 0
        for number, start, end in self.matches(whole):
            shown += (whole[at:start], self.names[number])
            at = end
        return b"".join((*shown, whole[at:])) if shown else whole


def _with_line_ends(text: bytes, found: Sequence[Match]) -> Iterator[Match]:
    """Where in `text` is what was `found` in it without the ends of its lines."""
    ends = re.finditer(rb"[\r\n]+|\Z", text)
    end, skipped = next(ends), 0

    def place(bare: int) -> int:
        nonlocal end, skipped
        while end.start() - skipped <= bare and end[0]:
            skipped += len(end[0])
            end = next(ends)
        return bare + skipped

    for number, start, last in found:
        yield number, place(start), place(last - 1) + 1


def patterns(secrets: tuple[tuple[str, str], ...]) -> Patterns | None:
    """For secrets as (name, value); None where there is nothing to look for."""
    names: dict[bytes, bytes] = {}
    for name, value in secrets:
        for spelling in spellings(value):
            bare = spelling.translate(None, b"\r\n")
            if len(bare) >= SHORTEST:
                names.setdefault(bare, f"[redacted:{name}]".encode())
    if not names:
        return None
    longest_first = sorted(names, key=len, reverse=True)
    return Patterns(
        # As regular expressions they took fifty times as long. A DFA is hardly faster, and takes
        # 300 KB for each secret of each user.
        BytesAhoCorasick(longest_first, MatchKind.LeftmostLongest, Implementation.ContiguousNFA),
        tuple(longest_first),
        tuple(names[one] for one in longest_first),
        len(longest_first[0]),
        _ends_beside("\0".join(value.strip() for _, value in secrets).encode()),
    )


def _ends_beside(secrets: bytes) -> tuple[bytes, ...]:
    return (
        *(() if b"}" in secrets else _OBJECT_ENDS),
        *(() if any(end in secrets for end in _EMPTY_LINES) else _EMPTY_LINES),
    )


class Scrubber:
    """`feed` pieces in order, then `end`; what comes out is what may be shown. `patterns`: others
    may be looked for from any piece on. `seen`: what stands for the secrets that were found."""

    __slots__ = ("_held", "patterns", "seen")

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self._held = b""
        self.seen: set[bytes] = set()

    def feed(self, piece: bytes) -> bytes:
        """What of all that came can be shown by now."""
        return self._take(self._held + piece, final=False)

    def whole_lines(self) -> bytes:
        """What was held back in lines that have ended, where what follows is none of theirs."""
        held = self._held
        ended = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
        shown = self._take(held[:ended], final=True)
        self._held = held[ended:]
        return shown

    def end(self) -> bytes:
        """What was held back: nothing follows that could make a secret of it."""
        return self._take(self._held, final=True)

    def _take(self, text: bytes, *, final: bool) -> bytes:
        known = self.patterns
        shown: list[bytes] = []
        at, hold = 0, len(text) if final else self._unsure(text)
        for number, start, end in known.matches(text):
            if start >= hold:
                # It may be a part of what the unsure end becomes.
                break
            shown += (text[at:start], known.names[number])
            self.seen.add(known.names[number])
            at = end
        hold = max(at, hold)
        shown.append(text[at:hold])
        self._held = text[hold:]
        return b"".join(shown)

    def _unsure(self, text: bytes) -> int:
        """Where the end of `text` begins that a spelling may reach into which is not all there."""
        known = self.patterns
        if text.endswith(known.ends):
            return len(text)
        at, reach = len(text), known.longest - 1
        # Two bytes may end a line behind each of a spelling's; empty lines without end do not wait.
        earliest = max(0, at - 3 * reach)
        while reach and at > earliest:
            before = max(earliest, at - reach)
            reach = text.count(b"\n", before, at) + text.count(b"\r", before, at)
            at = before
        for end in known.ends:
            found = text.rfind(end, at)
            if found >= 0:
                at = found + len(end)
        # No spelling begins with these.
        while text[at : at + 1] in (b"\n", b"\r"):
            at += 1
        return at


def scrubbed_headers(
    headers: list[tuple[bytes, bytes]], known: Patterns
) -> list[tuple[bytes, bytes]]:
    """Values with every secret replaced; a header whose name holds one is dropped."""
    if not known.matches(b"\n".join(map(b"\n".join, headers))):
        return headers
    return [(name, known.replaced(value)) for name, value in headers if not known.matches(name)]
