"""Own code around the calls of tools: what it is given, and what it may say.

    from gateway.hooks import Answer, Call, Refused

    async def only_in_europe(call: Call) -> None:
        if call.arguments.get("region") != "eu-central-1":
            raise Refused("Functions are called in eu-central-1 only.")

    async def without_notes(call: Call, answer: Answer) -> Answer | None:
        ...

In a policy: `hooks: {before: ["company.hooks:only_in_europe"], after: [...]}`. No hook sees a
credential: what is injected goes in after the last `before`, and is gone before the first `after`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """The call, or its answer, is not allowed; the caller is told the sentence."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `tool` at `server`, as the caller sent it. `user` empty: it acts for nobody."""

    server: str
    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    key_id: str
    consumer: str
    user: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tool said: the `result` of MCP's tools/call, or a JSON-RPC `error`; one of them is
    None."""

    result: Mapping[str, Any] | None = field(default=None, repr=False)
    error: Mapping[str, Any] | None = field(default=None, repr=False)


# Returns other arguments to call the tool with, or None to leave them as they are.
Before = Callable[[Call], Awaitable[Mapping[str, Any] | None]]
# Returns another answer, or None to leave it as it is.
After = Callable[[Call, Answer], Awaitable[Answer | None]]
