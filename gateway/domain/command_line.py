"""Command lines with placeholders: each item stays one argument, whatever is put into it.

`{region}` stands for the argument of that name; `{{` and `}}` for literal braces. `${HOME}` stays
as it is, because no shell reads the line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# The kernel's limit for one argument, and its default limit for all of them.
LONGEST_ARGUMENT = 2**17 - 1
LONGEST_LINE = 2**20

_PIECE = re.compile(
    r"\$\{[^{}]*\}|\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_.-]{0,127})\}|[^{}$]+|.", re.DOTALL
)
# After this item, programs treat nothing as an option.
_END_OF_OPTIONS = "--"


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The position of the argument with this name."""

    name: str


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[str | Placeholder, ...]:
    """Return the pieces of one item; ValueError says what is expected."""
    found: list[str | Placeholder] = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if match[1]:
            found.append(Placeholder(match[1]))
        elif piece in ("{", "}"):
            raise ValueError("an argument is written as {name}, and a brace as {{ or }}")
        else:
            found.append(piece[0] if piece in ("{{", "}}") else piece)
    return tuple(found)


def placeholders(argv: Iterable[str]) -> Iterator[str]:
    """Yield the names of all placeholders in `argv`."""
    for item in argv:
        for piece in parse(item):
            if isinstance(piece, Placeholder):
                yield piece.name


def mistake(argv: Sequence[str], schema: Mapping[str, Any]) -> str:
    """Return why `argv` cannot be a command line for the arguments of `schema`; else empty."""
    try:
        names = dict.fromkeys(placeholders(argv))
        if any(isinstance(piece, Placeholder) for piece in parse(argv[0])):
            return "the program itself is no argument: write its name"
    except ValueError as problem:
        return str(problem)
    properties = schema.get("properties", names)
    for name in names:
        if not isinstance(properties, Mapping) or name not in properties:
            return f"'input' describes no argument {name!r} under 'properties'"
    return ""


def completed(argv: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` with what `argv` implies added where the schema is sound: an argument in
    `argv` is required if it has no default, and is text if the schema describes no arguments."""
    names = dict.fromkeys(placeholders(argv))
    found = {"type": "object", **schema}
    if names:
        found.setdefault("properties", {name: {"type": "string"} for name in names})
    required, defaults = found.get("required", []), _defaults(found)
    besides = [name for name in names if name not in defaults]
    if besides and isinstance(required, list):
        found["required"] = [*required, *(name for name in besides if name not in required)]
    return found


def rendered(
    argv: Sequence[str], arguments: Mapping[str, Any], schema: Mapping[str, Any]
) -> list[str]:
    """Return `argv` with the arguments, or their defaults, filled in; ValueError, worded for the
    caller, if one does not fit.

    An argument at the start of an item must not begin with `-`, unless `--` stands before it: it
    would become an option.
    """
    given = {**_defaults(schema), **arguments}
    found: list[str] = []
    for item in argv:
        pieces = parse(item)
        text = "".join(p if isinstance(p, str) else _text(p.name, given) for p in pieces)
        first = pieces[0] if pieces else ""
        if isinstance(first, Placeholder) and text.startswith("-") and _END_OF_OPTIONS not in found:
            raise ValueError(f"The argument '{first.name}' may not begin with '-'.")
        if len(text.encode()) > LONGEST_ARGUMENT:
            raise ValueError("The arguments are too long for a command line.")
        found.append(text)
    if sum(len(text.encode()) + 1 for text in found) > LONGEST_LINE:
        raise ValueError("The arguments are too long for a command line.")
    return found


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    described = {name: one for name, one in properties.items() if isinstance(one, Mapping)}
    return {name: one["default"] for name, one in described.items() if "default" in one}


def _text(name: str, given: Mapping[str, Any]) -> str:
    """Return text unchanged, and any other value as JSON."""
    if name not in given:
        raise ValueError(f"The argument '{name}' is missing.")
    value = given[name]
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"The argument '{name}' holds what cannot stand in a command line.")
    return text
