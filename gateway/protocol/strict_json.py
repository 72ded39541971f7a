"""JSON that every reader takes in the same way; what two could take differently is no JSON here."""

import json
import re
from collections.abc import Collection
from itertools import accumulate
from typing import Any

import orjson

# Nobody nests further, and whoever goes through what was read, level by level, gets to its end.
LEVELS = 200

_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = [1 if byte in b"[{" else -1 for byte in range(256)]

# Each takes up to half a microsecond of everybody's time, and so many bytes of memory.
MOST_VALUES = 500_000
_VALUE_BYTES = 100
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TOO_MANY = re.compile(
    rb"(?:(?:[^\"\[{,]++|%b)*+[\[{,]){%d}+" % (_TEXT, MOST_VALUES + 1), re.DOTALL
)


class RepeatedNameError(ValueError):
    """An object has the same name twice: readers differ in which one they take."""


class TooManyValuesError(ValueError):
    """It is small as it stands, and large once it is read."""


def has_too_many(data: bytes) -> bool:
    """Whether `data`, if it is JSON, holds more than MOST_VALUES values."""
    # Each value takes a byte. Most texts hold fewer even where marks within texts of theirs are
    # counted too, which takes far less time.
    if len(data) <= MOST_VALUES:
        return False
    return _marks(data) > MOST_VALUES and _TOO_MANY.match(data) is not None


def weight(data: bytes) -> int:
    """About how many bytes of memory `data` takes once it is read: at most, but for a few."""
    return len(data) + _VALUE_BYTES * _marks(data)


def _marks(data: bytes) -> int:
    """At least as many as it has values, but for one."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def read(data: bytes | str) -> Any:
    """ValueError where it is not JSON in UTF-8, RepeatedNameError and TooManyValuesError among
    them; numbers that are none, or that no float holds, are not JSON either, nor is what has more
    than LEVELS."""
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
    """What `read` found, in UTF-8: what was decided on, and nothing that was not read."""
    try:
        return orjson.dumps(found)
    except TypeError:
        # Numbers beyond 64 bits, and halves of surrogate pairs.
        return json.dumps(found, separators=(",", ":"), allow_nan=False).encode("ascii")


def look_alike(names: Collection[str], known: Collection[str]) -> str | None:
    """The first of `names` that a reader who ignores case takes for one of `known`."""
    return next((name for name in names if name not in known and name.casefold() in known), None)


def is_too_deep(data: bytes) -> bool:
    """Whether `data`, which was found to be JSON, has more than LEVELS. How many a reader bears
    differs from one Python to the next, and with who has called it."""
    return data.count(b"[") + data.count(b"{") > LEVELS and _levels(data) > LEVELS


def _levels(data: bytes) -> int:
    """In JSON a backslash stands in a text alone."""
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


# Made once: to make one takes as long as to read a message.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
)
