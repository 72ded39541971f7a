"""Replace secrets in the messages of a tool server, wherever in a message they stand.

The parsed message is searched, since JSON has many spellings of one string. Names are searched like
values, and numbers like their text.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from gateway.protocol.scrub import Patterns
from gateway.protocol.strict_json import encode, has_too_many, is_too_deep

_LARGE = 2**17
_ENDS = (rb"\n", rb"\r")
# The shortest number that 64 bits may not hold.
_LONG_NUMBER = b"0" * 19
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)


class NoMessageError(ValueError):
    """What a server sent is no JSON object."""


@dataclass(frozen=True, slots=True)
class Known:
    """The secrets to look for. `plain`: their spellings in texts. `spelled`: their spellings in
    messages as `encode` writes them; `inside` finds out quickly whether there is any. `in_lines`:
    some spellings hold an escaped line end."""

    plain: Patterns
    spelled: tuple[bytes, ...] = field(repr=False)
    inside: BytesAhoCorasick = field(repr=False)
    in_lines: bool

    def may_be_in(self, written: bytes) -> bool:
        """False only if the message, written so, holds no secret."""
        inside = self.inside if len(written) < _LARGE else _for_large(self.spelled)
        if _ENDS[0] in written or _ENDS[1] in written:
            if self.in_lines and inside.find_matches_as_indexes(written):
                return True
            written = written.replace(_ENDS[0], b"").replace(_ENDS[1], b"")
        return bool(inside.find_matches_as_indexes(written))


def known(plain: Patterns) -> Known:
    """Return what finds the secrets of `plain` in messages."""
    inside = tuple({_inside(one) for one in plain.spelled})
    in_lines = any(end in one for one in inside for end in _ENDS)
    # Any match will do here, and for a few secrets this kind is seven times as fast.
    automaton = BytesAhoCorasick(inside, MatchKind.LeftmostFirst, Implementation.ContiguousNFA)
    return Known(plain, inside, automaton, in_lines)


# A DFA is three times as fast and fifty times as large: only the last few are kept, also after
# their secrets are gone.
@lru_cache(maxsize=16)
def _for_large(spelled: tuple[bytes, ...]) -> BytesAhoCorasick:
    return BytesAhoCorasick(spelled, implementation=Implementation.DFA)


def _inside(spelled: bytes) -> bytes:
    """Return the spelling as `encode` writes it within a string. Messages are UTF-8, so bytes that
    are none are in no message."""
    return orjson.dumps(spelled.decode("utf-8", "replace"))[1:-1]


@dataclass(slots=True)
class Search:
    """Replaces secrets in messages. `seen`: the replacements of those that were found."""

    known: Known
    seen: set[bytes] = field(default_factory=set)

    def written(self, message: Mapping[str, Any]) -> bytes:
        """Return the message as JSON, with secrets replaced."""
        try:
            written = orjson.dumps(message)
        except TypeError:
            # orjson cannot write it, so the quick search does not apply.
            return encode(self.message(message))
        return encode(self.message(message)) if self.known.may_be_in(written) else written

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the message with secrets replaced; raise RecursionError if it is too deep."""
        found: dict[str, Any] = self._value(message)
        return found

    def text(self, text: bytes) -> bytes:
        """Return a text that is no message with secrets replaced."""
        plain = self.known.plain
        found = plain.matches(text)
        if not found:
            return text
        self.seen.update(plain.names[number] for number, _, _ in found)
        return plain.replaced(text)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._text(name): self._value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return self._bytes(value) or [self._value(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            spelled = json.dumps(value).encode("ascii")
            shown = self.text(spelled)
            return value if shown is spelled else shown.decode("ascii")
        return value

    def _bytes(self, value: list[Any]) -> list[int | str] | None:
        """Return a list of numbers with secrets replaced, if they are the bytes of one, as Node
        writes a Buffer; None if they are not."""
        if not value or any(type(one) is not int for one in value):
            return None
        spelled = ",".join(map(str, value)).encode("ascii")
        shown = self.text(spelled)
        if shown is spelled:
            return None
        parts = shown.decode("ascii").split(",")
        return [one if "[" in one else int(one) for one in parts]

    def _text(self, text: str) -> str:
        # No secret holds half of a surrogate pair, but may stand beside one.
        spelled = text.encode("utf-8", "surrogatepass")
        shown = self.text(spelled)
        return text if shown is spelled else shown.decode("utf-8", "surrogatepass")


def decode(text: bytes) -> dict[str, Any]:
    """Return the message in `text`; raise NoMessageError if it is none, or too large or deep."""
    found = None if has_too_many(text) else parsed(text)
    if found is None or is_too_deep(text):
        raise NoMessageError
    return found


def parsed(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `text`, read leniently; None if it is none. NaN and Infinity become
    null, as in JSON that is written here."""
    try:
        # orjson also reads integers beyond 64 bits, but changes them.
        found = None if _LONG_NUMBER in text.translate(_DIGITS_ALIKE) else orjson.loads(text)
    except ValueError:
        found = None
    if found is None:
        try:
            found = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
