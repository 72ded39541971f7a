"""What a page of the console is made of."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.admin.backend import Backend
from gateway.admin.routing import Call, Caller, Told

Sent = Mapping[str, str]
# Of a form's field: a part of a secret, by the rest of its name.
FIELD = "field."
_NONE: Sent = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Seen:
    """A template and its values; `go`: another page instead; `told`: an answer of the API's that
    is passed on as it comes."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    go: str | None = None
    told: Told | None = None


Show = Callable[[Backend, Caller, Sent, Sent], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class View:
    """`pattern`: of the path behind /console/. `writes`: it is sent a form."""

    pattern: re.Pattern[str]
    powers: tuple[str, ...]
    show: Show
    writes: bool = False


def at(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def call_of(
    caller: Caller,
    parts: Sent = _NONE,
    query: Any = None,
    body: Any = None,
    marker: str = "",
    revision: str = "",
) -> Call:
    """What the API's handlers take. `marker`: makes a repeat of the same act harmless. `revision`:
    an ETag, without which the act is not done."""
    guards = {b"idempotency-key": marker.encode(), b"if-match": revision.encode()}
    headers = {name: value for name, value in guards.items() if value}
    return Call(caller, parts, headers, query, body)


def filled(sent: Mapping[str, Any]) -> dict[str, Any]:
    """What was written in a form: of a field that is empty the API is told nothing."""
    return {name: value for name, value in sent.items() if value}


def items_of(sent: Sent, prefix: str) -> dict[str, str]:
    """Of a form's fields those that begin so, by the rest of their names; empty ones are left
    out."""
    found = {n.removeprefix(prefix): v for n, v in sent.items() if n.startswith(prefix)}
    return filled(found)
