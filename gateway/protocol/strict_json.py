"""JSON that every reader takes in the same way; what two could take differently is no JSON here."""

import json
from collections.abc import Collection
from typing import Any

import orjson


class RepeatedNameError(ValueError):
    """An object has the same name twice: readers differ in which one they take."""


def read(data: bytes | str) -> Any:
    """ValueError where it is not JSON in UTF-8, RepeatedNameError among them; numbers that are
    none, or that no float holds, are not JSON either."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def encode(found: Any) -> bytes:
    """What `read` found, in UTF-8: what was decided on, and nothing that was not read."""
    try:
        return orjson.dumps(found)
    except TypeError:
        # Numbers beyond 64 bits, halves of surrogate pairs, and more levels than orjson takes.
        return json.dumps(found, separators=(",", ":"), allow_nan=False).encode("ascii")


def look_alike(names: Collection[str], known: Collection[str]) -> str | None:
    """The first of `names` that a reader who ignores case takes for one of `known`."""
    return next((name for name in names if name not in known and name.casefold() in known), None)


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
