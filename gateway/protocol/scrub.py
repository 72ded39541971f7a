"""Replace secrets in a stream of bytes, however the stream is cut into pieces.

A secret is looked for as it is and in the spellings in which programs echo values: base64 and
base32 at each of their alignments, URL-encoded, byte by byte in hex and in decimal, JSON, HTML. All
are looked for as if the stream were one line, because base64 and hex are folded at some width.

The end of what was received is held back until more comes, as far as any secret could reach. How
much is held back does not depend on the content: a caller who has guesses echoed piece by piece
would learn from it how good they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from gateway.protocol.spellings import SHORTEST, spellings

# Nearly every event of a stream ends in one of these. Few secrets have a brace in them, and those
# of several lines, such as private keys, hardly ever an empty line.
_OBJECT_ENDS = (b"}\n", b"}\r")
_EMPTY_LINES = (b"\n\n", b"\r\r", b"\n\r")

# The number of a spelling, and where it begins and ends in a text.
Match = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Patterns:
    """The secrets to look for. `found` finds all `spelled` at once, the longer of two that begin at
    one place; no spelling has a line end in it. `names`: the replacement of each. `longest`: the
    length of the longest. `ends`: ends of objects, and empty lines, that no secret is expected to
    reach across in a stream."""

    found: BytesAhoCorasick = field(repr=False)
    spelled: Sequence[bytes] = field(repr=False)
    names: Sequence[bytes] = field(repr=False)
    longest: int
    ends: tuple[bytes, ...]

    def matches(self, text: bytes) -> Sequence[Match]:
        """Return where secrets are, in order and without overlaps, also where line ends split
        them."""
        bare = text.replace(b"\n", b"").replace(b"\r", b"")
        found = self.found.find_matches_as_indexes(bare)
        return list(_with_line_ends(text, found)) if found and len(bare) < len(text) else found

    def replaced(self, whole: bytes) -> bytes:
        """Return `whole` with every secret in it replaced."""
        shown: list[bytes] = []
        at = 0
        for number, start, end in self.matches(whole):
            shown += (whole[at:start], self.names[number])
            at = end
        return b"".join((*shown, whole[at:])) if shown else whole


def _with_line_ends(text: bytes, found: Sequence[Match]) -> Iterator[Match]:
    """Yield the places in `text` of matches that were found in it without its line ends."""
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
    """Return the patterns for secrets as (name, value); None if there is nothing to look for."""
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
        # Regular expressions took fifty times as long. A DFA is hardly faster, and takes 300 KB for
        # each secret of each user.
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
    """`feed` pieces in order, then `end`; what they return may be shown. `patterns` can be replaced
    between pieces. `seen`: the replacements of the secrets that were found."""

    __slots__ = ("_held", "patterns", "seen")

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self._held = b""
        self.seen: set[bytes] = set()

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes received so far that can be shown now and were not yet."""
        return self._take(self._held + piece, final=False)

    def whole_lines(self) -> bytes:
        """Return the held-back bytes of lines that have ended; for streams in which nothing reaches
        across lines."""
        held = self._held
        ended = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
        shown = self._take(held[:ended], final=True)
        self._held = held[ended:]
        return shown

    def end(self) -> bytes:
        """Return all held-back bytes: nothing follows that could make a secret of them."""
        return self._take(self._held, final=True)

    def _take(self, text: bytes, *, final: bool) -> bytes:
        known = self.patterns
        shown: list[bytes] = []
        at, hold = 0, len(text) if final else self._unsure(text)
        for number, start, end in known.matches(text):
            if start >= hold:
                # It lies in the unsure end, and may become a part of a longer match.
                break
            shown += (text[at:start], known.names[number])
            self.seen.add(known.names[number])
            at = end
        hold = max(at, hold)
        shown.append(text[at:hold])
        self._held = text[hold:]
        return b"".join(shown)

    def _unsure(self, text: bytes) -> int:
        """Return where the end of `text` begins into which an incomplete spelling may reach."""
        known = self.patterns
        if text.endswith(known.ends):
            return len(text)
        at, reach = len(text), known.longest - 1
        # Each byte of a spelling may be followed by a line end of two bytes. The bound keeps
        # endless empty lines from being held back.
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
    """Return the headers with every secret in a value replaced, and without those whose name holds
    one."""
    if not known.matches(b"\n".join(map(b"\n".join, headers))):
        return headers
    return [(name, known.replaced(value)) for name, value in headers if not known.matches(name)]
