"""An admitted request, ready to be sent."""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.domain.policies.snapshot import Callee
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.request import RequestHead
from gateway.proxy.body import Body
from gateway.proxy.metered import Metering
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.services.admission.locate import Located
from gateway.services.admission.passage import Passage
from gateway.services.admission.standing import Standing
from gateway.services.credentials.inject import Injected, Values

# RFC 9110 section 9.2.1: safe methods, which nothing is done twice by.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Dress:
    """`injected`: its newest values are put in, and its secrets must not come back. `body`: held
    whole, with what is put into it; None: there is none, or it streams. `may_pass_over`: somebody
    else can be asked where this one has too much to do, or has broken. `metering`: what counts
    what the answer takes."""

    injected: Injected
    body: bytes | None = field(repr=False)
    may_pass_over: bool = False
    metering: Metering | None = None
    errand: "Errand | None" = None

    @property
    def values(self) -> Values:
        return self.injected.newest


class Errand(Protocol):
    """What a call is for that is more than bytes: a message to a server of tools.

    `event`, `tool`: for the audit record of it; `on_record`: it is made even where the call holds
    no credential.
    """

    event: str
    tool: str
    on_record: bool

    def check(self, injected: Injected) -> None:
        """Denied where the call cannot be made with these values."""

    def body(self, values: Values) -> bytes | None:
        """What is sent; None: nothing is."""

    async def shown(
        self,
        outgoing: "Outgoing",
        dress: Dress,
        head: AnswerHead,
        connection: UpstreamConnection,
        payload: Body,
    ) -> "tuple[Outgoing, Body]":
        """As `scrubbed`: what the caller is shown of the answer."""


@dataclass(slots=True)
class Outgoing:
    """`blocks`: the gateway's header lines for the agent, `own`: those for the caller.
    `upgrade`: it asks for a WebSocket. `dress`: what a call to a service holds besides, once that
    is known.
    """

    callee: Callee
    head: RequestHead
    located: Located
    passage: Passage
    blocks: tuple[bytes, ...]
    own: bytes
    upgrade: bool = False
    dress: Dress | None = None

    @property
    def limited(self) -> bool:
        """Whether rate-limit headers are among `own`."""
        return bool(self.passage.limits)

    def standing(self, owned: tuple[str, ...] = ()) -> Standing | None:
        """What an open answer stands on that is made with these credentials of users; None where
        it took no key."""
        passage = self.passage
        if not passage.key_id:
            return None
        scope, user = self.located.scope, self.head.user
        return Standing(passage.key_id, passage.proven, scope, user, owned)

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when a kept connection turns out to be dead."""
        return self.head.method in _SAFE and not self.head.has_body
