"""An admitted request, ready to be sent."""

from dataclasses import dataclass

from gateway.domain.policies import Agent
from gateway.protocol.request import RequestHead

# RFC 9110 section 9.2.1: safe methods, which nothing is done twice by.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`data`: the head as sent to the agent. `own`: the gateway's header lines for the caller.

    `limited`: rate-limit headers are among them. `upgrade`: it asks for a WebSocket.
    """

    agent: Agent
    head: RequestHead
    data: bytes
    own: bytes
    limited: bool = False
    upgrade: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when a kept connection turns out to be dead."""
        return self.head.method in _SAFE and not self.head.has_body
