"""An admitted request, ready to be sent."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.domain.policies.snapshot import Callee
from gateway.protocol.http.request import RequestHead
from gateway.proxy.metered import Metering
from gateway.services.admission.locate import Located
from gateway.services.admission.passage import Passage
from gateway.services.admission.standing import Standing
from gateway.services.credentials.inject import Injected, Values

if TYPE_CHECKING:
    # It imports this module.
    from gateway.proxy.tools.http_exchange import HttpMcpExchange

# RFC 9110 section 9.2.1: safe methods, which change nothing and so can be sent twice.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Injection:
    """What a call to a service, a model or a tool server has, and one to an agent has not.

    `injected`: its newest values are put in, and its secrets must not come back. `body`: held
    whole, with the values put in; None: there is none, or it streams. `may_fall_back`: another
    upstream can be asked where this one is overloaded or broken. `metering`: counts the tokens of
    the answer. `mcp`: the message to a tool server that is sent.
    """

    injected: Injected
    body: bytes | None = field(repr=False)
    may_fall_back: bool = False
    metering: Metering | None = None
    mcp: "HttpMcpExchange | None" = None

    @property
    def values(self) -> Values:
        return self.injected.newest


@dataclass(slots=True)
class Outgoing:
    """`blocks`: the gateway's header lines for the agent, `own`: those for the caller.
    `upgrade`: it asks for a WebSocket. `injection`: None for an agent, and for others as long as
    it is not known yet.
    """

    callee: Callee
    head: RequestHead
    located: Located
    passage: Passage
    blocks: tuple[bytes, ...]
    own: bytes
    upgrade: bool = False
    injection: Injection | None = None

    @property
    def limited(self) -> bool:
        """Whether rate-limit headers are among `own`."""
        return bool(self.passage.limits)

    def standing(self, owned: tuple[str, ...] = ()) -> Standing | None:
        """Return what has to hold for the answer to go on; None if the request needed no key.
        `owned`: credentials of users that are used in it."""
        passage = self.passage
        if not passage.key_id:
            return None
        scope, user = self.located.scope, self.head.user
        return Standing(passage.key_id, passage.proven, scope, user, owned)

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again if a kept connection turns out to be dead."""
        return self.head.method in _SAFE and not self.head.has_body
