"""Annotations of values in policy files: each is read from text, and described to editors."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pydantic import BeforeValidator, WithJsonSchema


def _text(parse: Callable[[str], Any], value: Any) -> Any:
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, (dict, list)):
        raise ValueError("this must be text")
    # Most often a unit is missing, which `parse` reports.
    parse(str(value))
    raise ValueError("this must be text: put it in quotes")


def written(parse: Callable[[str], Any], pattern: str, *examples: str) -> Any:
    """Return the annotations of a value that `parse` reads from text; its ValueError is shown."""
    schema: dict[str, Any] = {"type": "string", "examples": list(examples)}
    if pattern:
        schema["pattern"] = pattern
    return (BeforeValidator(partial(_text, parse)), WithJsonSchema(schema))


def matching(pattern: str, mistake: str) -> Callable[[str], str]:
    """Return a parser of texts that match `pattern`; of others its ValueError says `mistake`."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(mistake)
        return text

    return parse


def one_of(known: Sequence[str], separator: str) -> Any:
    """Return the annotations of a value that is one of `known`; `separator`: in the message."""

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text[:20]!r} is not one of {separator.join(known)}")
        return text

    schema = {"type": "string", "enum": list(known)}
    return (BeforeValidator(partial(_text, parse)), WithJsonSchema(schema))
