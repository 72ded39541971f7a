"""The file that moves keys between gateways: JSON, one object a line.

The first line tells the format's version, the last one the number of records, so that a truncated
file is noticed. Each line between them is a record.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.expiry import LATEST_EXPIRY
from gateway.domain.keys.record import field_names, from_fields
from gateway.protocol import strict_json

VERSION = 1
LONGEST_LINE = 65536
_MARK = "gateway_keys"
_COUNT = "records"
_NAME = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)


class KeyFileError(ValueError):
    """This is no such file, or not the whole of one."""


@dataclass(frozen=True, slots=True)
class Line:
    """`found`: a record, or a sentence that says why it is none."""

    number: int
    found: KeyCopy | str


def head() -> str:
    return json.dumps({_MARK: VERSION})


def line(copy: KeyCopy) -> str:
    values = {name: getattr(copy.record, name) for name in ("id", *field_names())}
    return json.dumps({**values, "removed_at": copy.removed_at})


def tail(count: int) -> str:
    return json.dumps({_COUNT: count})


def read(lines: Iterable[bytes]) -> Iterator[Line]:
    """Yield each record; raise KeyFileError, at the latest at the end, if the file is not whole."""
    count = -1
    stated: int | None = None
    for number, text in enumerate(lines, 1):
        if stated is not None:
            raise KeyFileError(f"line {number} comes after the last one")
        if len(text) > LONGEST_LINE:
            raise KeyFileError(f"line {number} is longer than {LONGEST_LINE} bytes")
        value = _object(text, number)
        if count < 0:
            _check_head(value)
        elif value.keys() == {_COUNT}:
            stated = count
            if value[_COUNT] != count:
                raise KeyFileError(f"it holds {count} records, and its last line says otherwise")
        else:
            yield Line(number, _copy(value))
        count += stated is None
    if count < 0:
        raise KeyFileError("it is empty")
    if stated is None:
        raise KeyFileError("its last line, which says how many records it holds, is missing")


def _check_head(value: dict[str, Any]) -> None:
    if value.keys() != {_MARK}:
        raise KeyFileError("it does not begin as 'gateway keys export' begins")
    if type(value[_MARK]) is not int or value[_MARK] != VERSION:
        raise KeyFileError(f"its version is not {VERSION}, the one that is understood here")


def _object(text: bytes, number: int) -> dict[str, Any]:
    try:
        value = strict_json.read(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise KeyFileError(f"line {number} is not one JSON object with each name once")
    return value


def _copy(value: dict[str, Any]) -> KeyCopy | str:
    texts: dict[str, Any] = {name: value.get(name) for name in ("id", *field_names())}
    missing = next((name for name, text in texts.items() if not isinstance(text, str)), None)
    if missing:
        return f"{missing} is not there as a text."
    unknown = next(iter(value.keys() - texts.keys() - {"removed_at"}), None)
    if unknown is not None:
        named = f" ({unknown})" if _NAME.fullmatch(unknown) else ""
        return f"There is a field that no record has{named}."
    removed_at = value.get("removed_at")
    if removed_at is not None and not (
        type(removed_at) is int and 0 <= removed_at <= LATEST_EXPIRY
    ):
        return "removed_at is neither null nor a Unix time in seconds."
    return KeyCopy(from_fields(texts.pop("id"), texts), removed_at)
