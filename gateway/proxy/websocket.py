"""WebSocket: the handshake is checked here, the frames pass through as they are."""

import asyncio
import binascii
from base64 import b64decode

from gateway.domain.errors import Code, Denied
from gateway.protocol.answer import AnswerHead, write_answer_head
from gateway.protocol.request import SUBPROTOCOL, RequestHead
from gateway.protocol.upstream_request import WEBSOCKET
from gateway.proxy.exchange import Exchange
from gateway.proxy.outgoing import Outgoing
from gateway.proxy.upstream import UpstreamConnection

_SWITCHING = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def asks_for_websocket(head: RequestHead) -> bool:
    """Whether `head` is a whole WebSocket handshake (RFC 6455 section 4.2.1).

    Any other upgrade is not passed on: the request goes to the agent as plain HTTP. Half a
    handshake is Denied(bad_request).
    """
    fields = head.fields
    if fields.get(b"upgrade", b"").lower() != WEBSOCKET:
        return False
    tokens = {token.strip() for token in fields.get(b"connection", b"").lower().split(b",")}
    if b"upgrade" not in tokens:
        return False
    names = {name.lower(): value for name, value in head.headers}
    whole = (
        head.method == "GET"
        and not head.http10
        and not head.has_body
        and names.get(b"sec-websocket-version") == b"13"
        and _is_nonce(names.get(b"sec-websocket-key", b""))
    )
    if not whole:
        raise Denied(Code.BAD_REQUEST, "This is not a whole WebSocket handshake.", close=True)
    return True


async def open_tunnel(
    exchange: Exchange, outgoing: Outgoing, connection: UpstreamConnection, head: AnswerHead
) -> None:
    """Pass the 101 on and carry bytes both ways until either side ends or both fall silent."""
    if not outgoing.upgrade:
        raise Denied(Code.UPSTREAM_PROTOCOL)
    own = outgoing.own + _subprotocol(outgoing.head, head)
    client = exchange.client
    exchange.begin(head.status, write_answer_head(head, own, framing=_SWITCHING))
    idle = outgoing.agent.timeouts.idle

    def on_activity() -> None:
        connection.deadline.set(idle)

    on_activity()
    client_lost = client.tunnel_to(connection, on_activity)
    agent_lost = connection.tunnel_to(client, on_activity)
    client.write(connection.take_early())
    connection.write(client.take_early())
    await asyncio.wait((client_lost, agent_lost), return_when=asyncio.FIRST_COMPLETED)
    client.close()
    connection.close()


def _subprotocol(request: RequestHead, answer: AnswerHead) -> bytes:
    """Browsers fail a handshake that offered subprotocols and got none: `agk` is always ours."""
    chosen = any(name.lower() == b"sec-websocket-protocol" for name, _ in answer.headers)
    if chosen or not request.offers_key_subprotocol:
        return b""
    return b"Sec-WebSocket-Protocol: " + SUBPROTOCOL + b"\r\n"


def _is_nonce(value: bytes) -> bool:
    try:
        return len(b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False
