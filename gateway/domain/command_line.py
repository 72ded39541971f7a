"""Command lines with arguments in them: each item stays one argument, whatever is put into it.

`{region}` stands for an argument of that name; `{{` and `}}` for braces; `${HOME}` for itself:
there is no shell that would make anything of it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# What the kernel takes as one argument, and what it takes of them all by default.
LONGEST_ARGUMENT = 2**17 - 1
LONGEST_LINE = 2**20

_PIECE = re.compile(
    r"\$\{[^{}]*\}|\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_.-]{0,127})\}|[^{}$]+|.", re.DOTALL
)
# After it, programs take nothing for an option.
_END_OF_OPTIONS = "--"


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where the argument of this name goes."""

    name: str


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[str | Placeholder, ...]:
    """The pieces of one item; ValueError says what is expected."""
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
    """The names of all arguments that stand in `argv`."""
    for item in argv:
        for piece in parse(item):
            if isinstance(piece, Placeholder):
                yield piece.name


def mistake(argv: Sequence[str], schema: Mapping[str, Any]) -> str:
    """Why `argv` cannot be a command line with arguments as `schema` describes them; else empty."""
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
    """`schema` with what `argv` says besides, where that is no mistake: an argument that stands
    there is required if it has no default, and text if none is described."""
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
    """`argv` with the arguments, or their defaults, in place; ValueError, in words for the caller,
    where one cannot stand there.

    What begins an item is refused where it would make an option of it, unless `--` is before it.
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
    """Text as it is, all else as JSON."""
    if name not in given:
        raise ValueError(f"The argument '{name}' is missing.")
    value = given[name]
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"The argument '{name}' holds what cannot stand in a command line.")
    return text
