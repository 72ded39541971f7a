"""An admitted request, ready to be sent."""

from dataclasses import dataclass

from gateway.domain.policies import Agent, Upstream
from gateway.protocol.request import RequestHead
from gateway.protocol.upstream_request import WEBSOCKET, write_head

# RFC 9110 section 9.2.1: safe methods, which nothing is done twice by.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`path`: what is sent after an upstream's base path. `blocks`: the gateway's header lines
    for the agent, `own`: those for the caller.

    `limited`: rate-limit headers are among them. `upgrade`: it asks for a WebSocket.
    """

    agent: Agent
    head: RequestHead
    path: bytes
    blocks: tuple[bytes, ...]
    own: bytes
    limited: bool = False
    upgrade: bool = False

    def data_for(self, upstream: Upstream) -> bytes:
        """The head as it is sent to `upstream`."""
        preserved = self.head.authority if self.agent.preserve_host else b""
        return write_head(
            self.head,
            upstream.base_path.encode() + self.path,
            preserved or upstream.authority.encode(),
            self.blocks,
            upgrade=WEBSOCKET if self.upgrade else b"",
        )

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when a kept connection turns out to be dead."""
        return self.head.method in _SAFE and not self.head.has_body
