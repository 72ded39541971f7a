"""WebSockets: the handshake is checked here, the frames pass through unchanged."""

import binascii
from base64 import b64decode, b64encode
from hashlib import sha1
from time import monotonic

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.answer import AnswerHead, write_answer
from gateway.protocol.http.frames import ALL_BITS, DEFLATE_BIT, FrameWatcher
from gateway.protocol.http.request import SUBPROTOCOL, RequestHead, values_of
from gateway.protocol.http.upstream_request import WEBSOCKET
from gateway.proxy.exchange import Exchange
from gateway.proxy.inflight import Inflight
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.tasks import Tasks

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def asks_for_websocket(head: RequestHead) -> bool:
    """Whether `head` is a complete WebSocket handshake (RFC 6455 section 4.2.1).

    With any other upgrade the request goes to the agent as plain HTTP, without it. Raise
    Denied(bad_request) if the handshake is incomplete.
    """
    fields = head.fields
    if fields.get(b"upgrade", b"").lower() != WEBSOCKET:
        return False
    tokens = {token.strip() for token in fields.get(b"connection", b"").lower().split(b",")}
    if b"upgrade" not in tokens:
        return False
    keys = values_of(head.headers, b"sec-websocket-key")
    whole = (
        head.method == "GET"
        and not head.http10
        and not head.has_body
        and values_of(head.headers, b"sec-websocket-version") == [b"13"]
        # Of two keys the agent might answer one and the gateway check the other.
        and len(keys) == 1
        and _is_nonce(keys[0])
    )
    if not whole:
        told = "This is not a whole WebSocket handshake of version 13."
        # RFC 6455 section 4.4: the answer names the version that is understood.
        known = (("Sec-WebSocket-Version", "13"),)
        raise Denied(Code.BAD_REQUEST, told, headers=known, close=True)
    return True


async def open_tunnel(
    exchange: Exchange,
    outgoing: Outgoing,
    connection: UpstreamConnection,
    head: AnswerHead,
    inflight: Inflight,
    beside: Tasks,
) -> None:
    """Pass the 101 on, and frames both ways until the WebSocket ends or its key is refused.
    `beside`: runs the end of a tunnel that holds no place of `concurrency` any more."""
    if not outgoing.upgrade or not _accepts(outgoing.head, head):
        raise Denied(Code.UPSTREAM_PROTOCOL)
    own = outgoing.own + _subprotocol(outgoing.head, head)
    client = exchange.client
    exchange.begin(head.status, write_answer(head, own, framing=_SWITCHING))
    most = client.limits.max_message
    up, down = (_watcher(head, masked=masked, max_message=most) for masked in (True, False))
    idle = outgoing.callee.timeouts.idle
    tunnel = Tunnel(client, connection, up, down, idle, exchange.release_lease)
    try:
        with inflight.stream(outgoing.standing(), tunnel.revoke):
            await tunnel.run(beside)
    finally:
        exchange.cut = tunnel.cut


def _accepts(request: RequestHead, answer: AnswerHead) -> bool:
    """Whether the agent proved that it understood the handshake (RFC 6455 section 4.1)."""
    key = values_of(request.headers, b"sec-websocket-key")
    digest = sha1(b"".join(key) + _GUID, usedforsecurity=False).digest()
    return values_of(answer.headers, b"sec-websocket-accept") == [b64encode(digest)]


def _watcher(answer: AnswerHead, *, masked: bool, max_message: int) -> FrameWatcher:
    """Return a watcher that allows the reserved bits of the extensions that were negotiated."""
    items = b",".join(values_of(answer.headers, b"sec-websocket-extensions")).split(b",")
    names = {item.partition(b";")[0].strip().lower() for item in items} - {b""}
    unknown = bool(names - {b"permessage-deflate"})
    return FrameWatcher(
        masked=masked,
        max_message=max_message,
        clock=monotonic,
        first_bits=ALL_BITS if unknown else DEFLATE_BIT if names else 0,
        later_bits=ALL_BITS if unknown else 0,
    )


def _subprotocol(request: RequestHead, answer: AnswerHead) -> bytes:
    """Return a header line that chooses `agk` where the agent chose no subprotocol: browsers fail a
    handshake that offered some and got none."""
    chosen = values_of(answer.headers, b"sec-websocket-protocol")
    if chosen or not request.offers_key_subprotocol:
        return b""
    return b"Sec-WebSocket-Protocol: " + SUBPROTOCOL + b"\r\n"


def _is_nonce(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False
