"""JSON for logs: whatever was read from somewhere, a line can be made of it."""

import json
from typing import Any

import orjson


def encode(event: Any) -> bytes:
    """`event` as JSON; bytes that are no text stay visible as `\\udcXX`."""
    try:
        return orjson.dumps(event, default=str)
    except TypeError:
        # Records and paths are read with surrogateescape, which orjson takes for an error.
        return json.dumps(event, default=str).encode("ascii")


def escaped(text: str) -> str:
    """`text` as a JSON string in ASCII."""
    return json.dumps(text)
