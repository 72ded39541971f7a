"""Strict JSON: documents that two readers could take differently are refused."""

import json
import re
from collections.abc import Collection
from itertools import accumulate
from typing import Any

import orjson

# Levels of nesting: nobody needs more, and recursive code reaches the end of so many.
LEVELS = 200

_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = [1 if byte in b"[{" else -1 for byte in range(256)]

# Parsing takes up to half a microsecond for each value, and this many bytes of memory.
MOST_VALUES = 500_000
_VALUE_BYTES = 100
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TOO_MANY = re.compile(
    rb"(?:(?:[^\"\[{,]++|%b)*+[\[{,]){%d}+" % (_TEXT, MOST_VALUES + 1), re.DOTALL
)


class RepeatedNameError(ValueError):
    """An object has the same name twice: readers differ in which one they take."""


class TooManyValuesError(ValueError):
    """A small document that is large once parsed."""


def has_too_many(data: bytes) -> bool:
    """Whether `data`, if it is JSON, holds more than MOST_VALUES values."""
    # Each value takes a byte. Counting marks, those within strings too, takes far less time than
    # the regular expression, and is enough for most documents.
    if len(data) <= MOST_VALUES:
        return False
    return _marks(data) > MOST_VALUES and _TOO_MANY.match(data) is not None


def weight(data: bytes) -> int:
    """Return about how many bytes of memory `data` takes once parsed; the true number is rarely
    larger."""
    return len(data) + _VALUE_BYTES * _marks(data)


def _marks(data: bytes) -> int:
    """Return a number that is at least the number of values less one."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def read(data: bytes | str) -> Any:
    """Return the parsed document. Raise ValueError (RepeatedNameError, TooManyValuesError) if it is
    not JSON in UTF-8, holds NaN, Infinity or a number beyond floats, or has more than LEVELS."""
    if isinstance(data, bytes) and has_too_many(data):
        raise TooManyValuesError(f"The body has more than {MOST_VALUES:,} values.")
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if is_too_deep(data if isinstance(data, bytes) else text.encode("utf-8", "surrogatepass")):
        raise ValueError("it is nested too deeply")
    return found


def encode(found: Any) -> bytes:
    """Return as JSON in UTF-8 what `read` returned: what is sent is what was decided on."""
    try:
        return orjson.dumps(found)
    except TypeError:
        # Numbers beyond 64 bits, and halves of surrogate pairs.
        return json.dumps(found, separators=(",", ":"), allow_nan=False).encode("ascii")


def look_alike(names: Collection[str], known: Collection[str]) -> str | None:
    """Return the first of `names` that a reader who ignores case takes for one of `known`."""
    return next((name for name in names if name not in known and name.casefold() in known), None)


def is_too_deep(data: bytes) -> bool:
    """Whether `data`, which is known to be JSON, has more than LEVELS. The parser's own limit is
    not used: it differs between Python versions and with the depth of the call stack."""
    return data.count(b"[") + data.count(b"{") > LEVELS and _levels(data) > LEVELS


def _levels(data: bytes) -> int:
    """Return the levels of nesting. Backslashes occur in strings alone, so strings are cut out."""
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = b"".join(outside).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedNameError("an object has the same name twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("a number is too large")
    return number


# Made once: making a decoder takes as long as reading a message.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
)
