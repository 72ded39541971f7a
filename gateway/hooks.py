"""Hooks: an operator's own code before and after the calls of tools.

    from gateway.hooks import Answer, Call, Refused

    async def only_in_europe(call: Call) -> None:
        if call.arguments.get("region") != "eu-central-1":
            raise Refused("Functions are called in eu-central-1 only.")

    async def without_notes(call: Call, answer: Answer) -> Answer | None:
        ...

In a policy: `hooks: {before: ["company.hooks:only_in_europe"], after: [...]}`. No hook sees a
credential: credentials are injected after the last `before` and removed before the first `after`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """Refuses the call or its answer; the caller is told the message."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `tool` at `server`, as the caller sent it. `user`: empty if it acts for no user."""

    server: str
    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    key_id: str
    consumer: str
    user: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The tool's answer: the `result` of MCP's tools/call, or a JSON-RPC `error`; the other is
    None."""

    result: Mapping[str, Any] | None = field(default=None, repr=False)
    error: Mapping[str, Any] | None = field(default=None, repr=False)


# Returns new arguments for the call, or None to leave them unchanged.
Before = Callable[[Call], Awaitable[Mapping[str, Any] | None]]
# Returns a new answer, or None to leave it unchanged.
After = Callable[[Call, Answer], Awaitable[Answer | None]]
