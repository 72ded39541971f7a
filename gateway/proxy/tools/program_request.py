"""A call of a tool that is a program on this machine."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from gateway.domain.audit.record import Named
from gateway.domain.policies.snapshot import ToolServer
from gateway.protocol.mcp.rpc import Message
from gateway.protocol.secrets import Secrets
from gateway.services.credentials.inject import Pairs


@dataclass(frozen=True, slots=True)
class ProgramRequest:
    """One JSON-RPC message of one key and user that was admitted, charged and recorded.

    `message`: with values injected into `params.arguments`. `user`: empty: it acts for nobody.
    `version`: of MCP, as the caller speaks it. `env`: injected into the environment of the program.
    `uses`: names and versions of all credentials in `env` and `message`, by which a program that
    was started with older ones is recognised. `secrets`: every value that must not be shown, with
    the name that replaces it, for logs and for answers that are cut. `reflected` is told the names
    of secrets that were replaced on the way already.
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
