"""How tools are reached that are programs on this machine: what serves them, behind one line.

`http` is no such transport: its bytes are forwarded as those of an agent are.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.domain.audit.record import Named
from gateway.domain.policies.snapshot import Agent
from gateway.protocol.secrets import Secrets
from gateway.services.credentials.inject import Pairs

# One JSON-RPC message: a JSON object, as `protocol/mcp/rpc.py` read it.
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One JSON-RPC message of one key and user, already decided on.

    Everything before it has happened: the key is proven, its scopes cover the tool, the call is
    charged and on record, and what is injected into `params.arguments` is in `message`.
    `user`: empty, it acts for nobody. `version`: of MCP, as the caller speaks it. `session`: what
    this transport gave as `ToolAnswer.session` to the same key and user; empty: none.
    `env`: what is put into the environment of the program. `uses`: names and versions of all
    credentials that are in `env` and `message`, so that a program that was started with an older
    one can be told from one that has these. `secrets`: every value that must not be shown, with
    the name that stands for it, for what the transport itself logs or cuts. `reflected` is told
    what stands for those that it has replaced by itself.
    """

    server: Agent
    message: Message = field(repr=False)
    key_id: str
    user: str
    version: str
    session: str
    env: Pairs = field(repr=False)
    secrets: Secrets = field(repr=False)
    uses: tuple[Named, ...]
    request_id: str
    reflected: Callable[[Set[bytes]], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """`messages`: for a request, what the server says of it (requests and notifications of its
    own), and last the response to it; for a notification or a response of the caller's, nothing.

    They are scrubbed, filtered by scope and written as JSON or as events by whoever asked: a
    transport passes on what the program said. The iterator is closed (`aclose`) when the caller is
    gone or its key was revoked: then what still runs for it has to end. `session`: not empty where
    this call opened one; the caller is given it sealed, bound to its key and user.
    """

    messages: AsyncIterator[Message]
    session: str = ""


class ToolTransport(Protocol):
    """One for each of `stdio` and `command`, opened in `app/` for the life of the process.

    Workers share nothing but Redis: a request of a session may come to another one than the one
    that opened it. A transport that cannot do with that keeps no sessions.
    """

    async def ask(self, call: ToolCall) -> ToolAnswer:
        """Have the program take `call.message`.

        Denied(not_found) where `call.session` is over; Denied(upstream_…, busy) where the program
        cannot be had. Once messages flow, what fails is told as a JSON-RPC error in the response.
        """
        ...

    async def listen(self, call: ToolCall) -> AsyncIterator[Message] | None:
        """What the server says unasked, for a GET; None: it has nothing to say (405)."""
        ...

    async def end(self, call: ToolCall) -> bool:
        """End `call.session`, for a DELETE; False: sessions are not ended by callers (405)."""
        ...
