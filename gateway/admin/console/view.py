"""Types and helpers that the pages of the console share."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.admin.backend import Backend
from gateway.admin.routing import Answer, Call, Caller

Params = Mapping[str, str]
# The name of a form field with a part of a credential begins so; the rest is the part's name.
FIELD = "field."
_NONE: Params = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Page:
    """A template and its values."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page to go to; `place` is its path below /console/."""

    place: str


# An Answer is streamed to the browser as the API gives it.
Show = Callable[[Backend, Caller, Params, Params], Awaitable[Page | Redirect | Answer]]


@dataclass(frozen=True, slots=True)
class View:
    """A page or an act of the console.

    `pattern` matches the path below /console/; its groups are the first `Params` of `show`, the
    query or the form is the second. `writes`: a form is posted to it.
    """

    pattern: str
    powers: tuple[str, ...]
    show: Show
    writes: bool = False

    def match(self, path: str) -> Params | None:
        """Return the parts of `path` that `pattern` names, or None if it does not match."""
        found = re.fullmatch(self.pattern, path)
        return None if found is None else found.groupdict()


def call_of(
    caller: Caller,
    parts: Params = _NONE,
    query: Any = None,
    body: Any = None,
    marker: str = "",
    revision: str = "",
) -> Call:
    """Make a call for a handler of the API. `marker`: the idempotency key. `revision`: the ETag
    that the record must still have."""
    guards = {b"idempotency-key": marker.encode(), b"if-match": revision.encode()}
    headers = {name: value for name, value in guards.items() if value}
    return Call(caller, parts, headers, query, body)


def filled(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out empty fields, which the API must not see as values."""
    return {name: value for name, value in sent.items() if value}


def items_of(sent: Params, prefix: str) -> dict[str, str]:
    """Return the fields whose names begin with `prefix`, by the rest of their names, without empty
    ones."""
    found = {n.removeprefix(prefix): v for n, v in sent.items() if n.startswith(prefix)}
    return filled(found)
