"""An admitted request, ready to be sent."""

from dataclasses import dataclass

from gateway.domain.policies.snapshot import Agent, Upstream
from gateway.protocol.http.request import RequestHead
from gateway.protocol.http.upstream_request import UPGRADE, framing, write_head
from gateway.proxy.upstream.dress import Dress, dressed_head
from gateway.services.admission.locate import Located
from gateway.services.admission.passage import Passage
from gateway.services.admission.standing import Standing

# RFC 9110 section 9.2.1: safe methods, which nothing is done twice by.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Outgoing:
    """`blocks`: the gateway's header lines for the agent, `own`: those for the caller.
    `upgrade`: it asks for a WebSocket. `dress`: what a call to a service holds besides, once that
    is known.
    """

    agent: Agent
    head: RequestHead
    located: Located
    passage: Passage
    blocks: tuple[bytes, ...]
    own: bytes
    upgrade: bool = False
    dress: Dress | None = None

    def data_for(self, upstream: Upstream) -> bytes:
        """The head as it is sent to `upstream`."""
        if self.dress is not None:
            return dressed_head(self, self.dress, upstream)
        head = self.head
        preserved = head.authority if self.agent.preserve_host else b""
        return write_head(
            head.method,
            b"%b%b%b" % (upstream.base_path.encode(), self.located.path, head.target.query),
            preserved or upstream.authority.encode(),
            head.headers,
            framing(head.content_length, chunked=head.chunked),
            UPGRADE if self.upgrade else b"",
            *self.blocks,
        )

    @property
    def limited(self) -> bool:
        """Whether rate-limit headers are among `own`."""
        return bool(self.passage.limits)

    @property
    def standing(self) -> Standing | None:
        """What an open answer stands on; None where it took no key."""
        passage = self.passage
        if not passage.key_id:
            return None
        return Standing(passage.key_id, passage.proven, self.located.scope, self.head.user)

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when a kept connection turns out to be dead."""
        return self.head.method in _SAFE and not self.head.has_body
