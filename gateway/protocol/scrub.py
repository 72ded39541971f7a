"""Secrets in a stream of bytes are replaced, however the stream is cut into pieces.

A secret is looked for as it is and in the spellings that programs give to what they echo: base64
at each of its three alignments, URL-encoded, byte by byte in hex and in numbers, JSON, HTML; and in
all of them as if what came were one line, because base64 and hex are folded at some width. The end
of what came is held back until more comes, as far as any secret could reach: how much that is does
not depend on what stands there, or a caller who has guesses echoed piece by piece would learn from
it how good they are.
"""

import base64
import html
import json
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

# What writers of JSON escape so that it may stand in a page: Go and Rails, Gson; .NET has capitals.
_FOR_PAGES = (("<>&", "x"), ("<>&='", "x"), ("\"<>&'+`", "X"))

# What writers of URLs leave as it is: none of it, a path; JavaScript in a part and in a whole URL;
# Go in a part of a path.
_LEFT_IN_URLS = ("", "/", "!'()*", ";,/?:@&=+$#!'()*", "$&+=:@")

# Between the bytes in hex: of `hexdump -C` and of certificates.
_BETWEEN_BYTES = ("", " ", ":")

# Shorter ones are in every text: to replace them would tell where they are, and break answers.
SHORTEST = 4

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


def spellings(secret: str) -> Iterator[bytes]:
    """How programs spell `secret`. Blanks around it are no part of it: a header loses them."""
    bare = secret.strip()
    secret = bare if len(bare) >= SHORTEST else secret
    if len(secret) < SHORTEST:
        return
    raw = secret.encode()
    yield from (raw, *_in_other_charsets(secret), *_in_other_lines(secret))
    yield from map(str.encode, _byte_by_byte(raw))
    yield from _in_urls(secret, raw)
    for coded in _in_base64(raw):
        # As a parameter, its + and / are escaped once more.
        escaped = quote(coded, safe="")
        yield from (coded, escaped.encode(), _lower_escapes(escaped).encode())
    for ascii_only in (True, False):
        text = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield from (text.encode(), text.replace("/", "\\/").encode())
        # JSON that is a text in JSON, as tools like to answer.
        yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    yield from _in_json_for_pages(secret)
    yield from _in_html(secret)
    yield from map(str.encode, _by_number(secret))


def _in_json_for_pages(secret: str) -> Iterator[bytes]:
    for escaped, digits in _FOR_PAGES:
        yield "".join(
            "".join(f"\\u{unit:04{digits}}" for unit in _units(c))
            if c in escaped or (digits == "X" and not c.isascii())
            else json.dumps(c, ensure_ascii=False)[1:-1]
            for c in secret
        ).encode()


def _units(text: str) -> Iterator[int]:
    """As JSON escapes them: two for one beyond 16 bits."""
    return (unit for (unit,) in struct.iter_unpack(">H", text.encode("utf-16-be")))


def _in_html(secret: str) -> Iterator[bytes]:
    whole = html.escape(secret)
    yield from (html.escape(secret, quote=False).encode(), whole.encode())
    # Most others; PHP; XML.
    for apostrophe in ("&#39;", "&#039;", "&apos;"):
        yield whole.replace("&#x27;", apostrophe).encode()
    by_number = whole.replace("&#x27;", "&#39;")
    # Jinja's and Go's; Handlebars' and Mustache's.
    quoted = by_number.replace("&quot;", "&#34;")
    yield from (quoted.encode(), quoted.replace("+", "&#43;").encode())
    yield whole.replace("`", "&#x60;").replace("=", "&#x3D;").encode()
    slashed = by_number.replace("/", "&#x2F;")
    yield slashed.replace("`", "&#x60;").replace("=", "&#x3D;").encode()


def _by_number(secret: str) -> Iterator[str]:
    """Every character by its number, as JSON and HTML allow for any."""
    for digits in "xX":
        text = "".join(f"\\u{unit:04{digits}}" for unit in _units(secret))
        yield from (text, text.replace("\\", "\\\\"))
        yield "".join(f"&#x{ord(letter):{digits}};" for letter in secret)
    yield "".join(f"&#{ord(letter)};" for letter in secret)


def _byte_by_byte(raw: bytes) -> Iterator[str]:
    for digits in "xX":
        pairs = [f"{byte:02{digits}}" for byte in raw]
        yield from (between.join(pairs) for between in _BETWEEN_BYTES)
        yield "".join(f"\\x{pair}" for pair in pairs)
    # Lists in Python and in JSON.
    yield from (between.join(map(str, raw)) for between in (", ", ","))


def _in_other_charsets(secret: str) -> Iterator[bytes]:
    yield from (secret.encode("utf-16-le"), secret.encode("utf-16-be"))
    with suppress(UnicodeEncodeError):
        yield secret.encode("latin-1")


def _in_other_lines(secret: str) -> Iterator[bytes]:
    """Whatever ends its lines, and as a shell writes what is in no quotes."""
    lines = secret.splitlines()
    if len(lines) > 1:
        yield "".join(lines).encode()
        yield " ".join(secret.split()).encode()


def _in_urls(secret: str, raw: bytes) -> Iterator[bytes]:
    texts = [quote(secret, safe=left) for left in _LEFT_IN_URLS]
    # The last one: Java, and browsers in a form.
    texts += (quote_plus(secret), quote_plus(secret, safe="*").replace("~", "%7E"))
    for text in texts:
        for spelled in (text, _lower_escapes(text)):
            yield spelled.encode()
            # What is put into a URL that is put into a URL.
            yield spelled.replace("%", "%25").encode()
    whole = "".join(f"%{byte:02X}" for byte in raw)
    for spelled in (whole, whole.lower()):
        yield from (spelled.encode(), spelled.replace("%", "%25").encode())


def _lower_escapes(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """What is the same whatever stands before and after it, and the secret alone with its end."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from (encode(raw), encode(raw).rstrip(b"="))
        for before in range(3):
            text = encode(b"\0" * before + raw)
            yield text[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]


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
