"""Bodies that are read whole before they are sent."""

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.request import RequestHead
from gateway.proxy.exchange import Exchange
from gateway.proxy.inflight import Inflight
from gateway.proxy.large_bodies import LargeBodies
from gateway.services.admission.passage import Identity
from gateway.services.admission.standing import Standing


class Uploads:
    """Reads bodies that have to be known before the request is admitted, so before the key's plan
    limits it."""

    def __init__(self, large: LargeBodies, inflight: Inflight) -> None:
        self._large = large
        self._inflight = inflight

    async def read(
        self, exchange: Exchange, head: RequestHead, caller: Identity, most: int
    ) -> bytes:
        """Read as `read_whole`; raise Denied also if the key is refused before all has come."""
        # Whatever the outcome, logs show whose request it was.
        exchange.key_id, exchange.consumer = caller.key_id, caller.consumer
        if exchange.body_arrived:
            # It is in a buffer that every request has, so that small bodies always find room.
            return await read_whole(exchange, head, most)
        exchange.memory = self._large.memory_of(caller.key_id)
        standing = Standing(caller.key_id, caller.proven, None, None)
        with self._inflight.stream(standing, exchange.cut_body):
            return await read_whole(exchange, head, most)


async def read_whole(exchange: Exchange, head: RequestHead, most: int) -> bytes:
    """Return the whole body. Raise Denied(body_too_large) if it is longer than `most`, unread if
    the head says so, Denied(busy) if bodies of other requests leave no room."""
    if head.content_length is not None and head.content_length > most:
        raise Denied(Code.BODY_TOO_LARGE, close=True)
    if b"expect" in head.fields:
        exchange.expect_continue()
    pieces = bytearray()
    while piece := await exchange.read_body():
        pieces += piece
        if len(pieces) > most:
            raise Denied(Code.BODY_TOO_LARGE, close=True)
        if exchange.memory is not None:
            exchange.memory.take(len(piece))
    return bytes(pieces)
