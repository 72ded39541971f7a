"""A call to a service as it is sent: what the caller sent, with what only the gateway knows."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.crypto.signing import signed
from gateway.crypto.to_sign import ToSign
from gateway.domain.policies.services import Sign
from gateway.domain.policies.snapshot import Upstream
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.request import Header
from gateway.protocol.http.upstream_request import framing, write_head
from gateway.protocol.inject import with_headers, with_query
from gateway.proxy.body import Body
from gateway.services.credentials.inject import Injected, Values

if TYPE_CHECKING:
    from gateway.proxy.metered import Metering
    from gateway.proxy.upstream.call import Call
    from gateway.proxy.upstream.outgoing import Outgoing

_LIMITS = frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"})


@dataclass(slots=True)
class Dress:
    """`injected`: its newest values are put in, and its secrets must not come back. `body`: held
    whole, with what is put into it; None: there is none, or it streams. `may_pass_over`: somebody
    else can be asked where this one has too much to do, or has broken. `metering`: what counts
    what the answer takes."""

    injected: Injected
    body: bytes | None = field(repr=False)
    may_pass_over: bool = False
    metering: "Metering | None" = None
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
        call: "Call",
        payload: Body,
    ) -> "tuple[Outgoing, Body]":
        """As `scrubbed`: what the caller is shown of the answer."""


def dressed_head(outgoing: "Outgoing", dress: Dress, upstream: Upstream) -> bytes:
    """The head as it is sent to `upstream`, and to no other host."""
    head, values = outgoing.head, dress.values
    path = b"%b%b" % (upstream.base_path.encode(), outgoing.located.path) or b"/"
    query = with_query(head.target.query, values.query)
    headers = with_headers(head.headers, values.headers, values.names)
    inject = outgoing.agent.inject
    if inject is not None and inject.sign is not None and values.signing is not None:
        request = ToSign(
            head.method,
            upstream.scheme == "https",
            upstream.authority,
            path.decode("ascii"),
            query[1:].decode("ascii"),
            headers,
            _hashed(outgoing, dress, inject.sign),
        )
        headers = with_headers(headers, signed(inject.sign, values.signing, request))
    length, chunked = head.content_length, head.chunked
    if dress.body is not None:
        length, chunked = len(dress.body), False
    return write_head(
        head.method,
        path + query,
        upstream.authority.encode(),
        headers,
        framing(length, chunked=chunked),
        *outgoing.blocks,
    )


def _hashed(outgoing: "Outgoing", dress: Dress, sign: Sign) -> bytes | None:
    if not outgoing.head.has_body:
        return b""
    return dress.body if sign.hashes_body else None


def limits_beside(own: bytes, headers: list[Header]) -> bytes:
    """`own` without the limits that a service's own, of the same names, would contradict."""
    if not any(name.lower() in _LIMITS for name, _ in headers):
        return own
    lines = own.splitlines(keepends=True)
    return b"".join(line for line in lines if line.partition(b":")[0].lower() not in _LIMITS)
