"""One request on one connection to an upstream: send head and body, wait for the answer."""

import asyncio
from collections.abc import Awaitable

from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import Upstream
from gateway.protocol.http.chunks import LAST_CHUNK, chunk
from gateway.proxy.exchange import Exchange
from gateway.proxy.upstream.connection import Answer, UpstreamConnection
from gateway.proxy.upstream.head import head_for
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.tasks import retrieve_exception


class Call:
    """`answer` sends the request and waits; `end` must be called afterwards in any case."""

    __slots__ = ("_exchange", "_outgoing", "_sent", "_upload", "_upstream", "connection")

    def __init__(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        upstream: Upstream,
        connection: UpstreamConnection,
    ) -> None:
        self.connection = connection
        self._exchange = exchange
        self._outgoing = outgoing
        self._upstream = upstream
        self._upload: asyncio.Task[None] | None = None
        self._sent = 0

    @property
    def sent_whole(self) -> bool:
        """Whether the whole request was sent, so that another one may follow on the connection."""
        upload = self._upload
        if upload is None:
            # A paused connection still holds bytes that the agent has not read.
            return not self.connection.writing_paused
        return upload.done() and not upload.cancelled() and upload.exception() is None

    def answer(self) -> Awaitable[Answer]:
        """Send the request. Return, once awaited, the head of the final answer; its body may still
        be on its way.

        Raise Denied if the caller's body is malformed, too large or too slow, or if the agent
        fails; UpstreamLostError if the agent closed the connection without an answer.
        """
        outgoing, exchange, connection = self._outgoing, self._exchange, self.connection
        injection = outgoing.injection
        data = head_for(self._upstream, outgoing)
        arrived = connection.expect_answer(bodiless=outgoing.head.method == "HEAD")
        if injection is not None and injection.body is not None:
            connection.write(data + injection.body)
        elif not outgoing.head.has_body:
            connection.write(data)
        elif exchange.body_arrived:
            body = self._framed(exchange.buffered_body())
            connection.write(data + body + self._ending())
        else:
            connection.write(data)
            # The deadline is still that of an idle connection in the pool.
            connection.deadline.clear()
            return self._upload_until(arrived)
        connection.deadline.set(outgoing.callee.timeouts.first_byte)
        return arrived

    def end(self) -> None:
        upload = self._upload
        if upload is not None and not upload.done():
            upload.cancel()
            # It may fail before it is cancelled, and nobody awaits it.
            upload.add_done_callback(retrieve_exception)

    async def _upload_until(self, arrived: "asyncio.Future[Answer]") -> Answer:
        """Upload in a task of its own: an agent may answer before it has read everything."""
        self._upload = asyncio.create_task(self._send_body())
        await asyncio.wait((self._upload, arrived), return_when=asyncio.FIRST_COMPLETED)
        if self._upload.done() and not arrived.done():
            self._upload.result()
        return await arrived

    async def _send_body(self) -> None:
        exchange, connection = self._exchange, self.connection
        timeouts = self._outgoing.callee.timeouts
        if b"expect" in self._outgoing.head.fields:
            exchange.expect_continue()
        while piece := await exchange.read_body():
            connection.write(self._framed(piece))
            if connection.writing_paused:
                connection.deadline.set(timeouts.idle)
                try:
                    await connection.drain()
                except ConnectionError:
                    return
                if connection.answer_arrived:
                    # The same silence is allowed for the rest of the answer.
                    connection.deadline.set(timeouts.idle)
                else:
                    connection.deadline.clear()
        connection.write(self._ending())
        if not connection.answer_arrived:
            connection.deadline.set(timeouts.first_byte)

    def _framed(self, piece: bytes) -> bytes:
        self._sent += len(piece)
        most = self._outgoing.callee.max_body
        if most is not None and self._sent > most:
            raise Denied(Code.BODY_TOO_LARGE, close=True)
        return chunk(piece) if self._outgoing.head.chunked else piece

    def _ending(self) -> bytes:
        return LAST_CHUNK if self._outgoing.head.chunked else b""
