"""A call of a tool that is a program on this machine."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from gateway.domain.audit.record import Named
from gateway.domain.policies.snapshot import ToolServer
from gateway.protocol.mcp.rpc import Message
from gateway.protocol.secrets import Secrets
from gateway.services.credentials.inject import Pairs


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One JSON-RPC message of one key and user, already decided on.

    Everything before it has happened: the key is proven, its scopes cover the tool, the call is
    charged and on record, and what is injected into `params.arguments` is in `message`.
    `user`: empty, it acts for nobody. `version`: of MCP, as the caller speaks it.
    `env`: what is put into the environment of the program. `uses`: names and versions of all
    credentials that are in `env` and `message`, so that a program that was started with an older
    one can be told from one that has these. `secrets`: every value that must not be shown, with
    the name that stands for it, for what is logged or cut on the way. `reflected` is told
    what stands for those that it has replaced by itself.
    """

    server: ToolServer
    message: Message = field(repr=False)
    key_id: str
    user: str
    version: str
    env: Pairs = field(repr=False)
    secrets: Secrets = field(repr=False)
    uses: tuple[Named, ...]
    request_id: str
    reflected: Callable[[Set[bytes]], None] = field(repr=False)
