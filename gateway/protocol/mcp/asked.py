"""What a request to a server of tools asks for, once its body was read."""

from dataclasses import dataclass

from gateway.protocol.mcp.rpc import RequestId, Rpc


@dataclass(slots=True)
class Asked:
    """`rpc`: the message of a POST, for as long as it is needed; `weight`: bytes of memory that it
    takes; `id`: its own. `version`: of MCP, empty before one was agreed on. `session`: as the
    server knows it, `last_event` likewise; empty: none."""

    rpc: Rpc | None = None
    weight: int = 0
    id: RequestId = None
    version: str = ""
    session: str = ""
    last_event: str = ""
