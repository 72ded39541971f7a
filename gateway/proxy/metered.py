"""The tokens of a model's answer, counted as the answer goes by."""

import asyncio
from collections.abc import Callable

from gateway.domain.errors import GatewayError, drop_traceback
from gateway.domain.usage import TokensUsed
from gateway.protocol.http.answer import AnswerHead, read_answer
from gateway.protocol.http.error_event import is_event_stream
from gateway.protocol.models.usage import Meter, StreamMeter, WholeMeter
from gateway.proxy.body import Body, BodyWrapper
from gateway.proxy.upstream.connection import UpstreamConnection

# How long an answer is read on after its caller left: the provider charges for it all the same, and
# reports the tokens at its end.
READ_ON_SECONDS = 10.0


class Metering:
    """Counts the tokens of one call. `prompt`: bytes of its body. `hide`: the gateway, and not the
    caller, asked for the usage report. `on_used` is called once; not if there was no answer to pay
    for."""

    def __init__(
        self, path: bytes, prompt: int, *, hide: bool, on_used: Callable[[TokensUsed], None]
    ) -> None:
        self._path = path
        self._prompt = prompt
        self._hide = hide
        self._on_used = on_used
        self._meter: Meter | None = None
        self._body: Body | None = None
        self._settled = False

    def wrap(self, head: AnswerHead, body: Body) -> Body:
        """Return the body that the caller is to read in place of `body`."""
        if head.status >= 400 or head.bodiless:
            self._settled = True
            return body
        if is_event_stream(head.headers):
            self._meter = StreamMeter(self._path, self._prompt, hide=self._hide)
            # How much of it will be hidden is not known yet.
            head.content_length = None
        else:
            self._meter = WholeMeter(self._path, self._prompt)
        self._body = _MeteredBody(body, self._meter)
        return self._body

    @property
    def open(self) -> bool:
        """Whether more of the answer may follow."""
        return not self._settled and (self._body is None or not self._body.at_eof())

    def settle(self) -> None:
        """Report the tokens: no more of the answer will follow."""
        if not self._settled and self._meter is not None:
            self._settled = True
            self._on_used(self._meter.used())

    async def read_on(self, connection: UpstreamConnection) -> None:
        """Read the rest of an answer whose caller has left, for READ_ON_SECONDS at most."""
        # The time below is enough, and nobody would end a timer of a connection that is lost.
        connection.deadline.clear()
        try:
            async with asyncio.timeout(READ_ON_SECONDS):
                body = self._body or await self._await_body(connection)
                while await body.readany():
                    pass
        except (TimeoutError, GatewayError, ConnectionError) as cut:
            drop_traceback(cut)
        finally:
            self.settle()
            connection.drop()

    async def _await_body(self, connection: UpstreamConnection) -> Body:
        message, payload = await connection.listen_again()
        head = read_answer(message.code, message.raw_headers, method="POST", drop_limits=False)
        return self.wrap(head, payload)


class _MeteredBody(BodyWrapper):
    def __init__(self, body: Body, meter: Meter) -> None:
        self._inner = body
        self._meter = meter
        self._ended = False

    def at_eof(self) -> bool:
        return self._ended and self._inner.at_eof()

    def read_nowait(self) -> bytes:
        shown = self._meter.feed(self._inner.read_nowait())
        return shown + self._end() if self._inner.at_eof() else shown

    async def readany(self) -> bytes:
        """Return the next piece, empty at the end."""
        while piece := await self._inner.readany():
            shown = self._meter.feed(piece)
            if shown:
                return shown
        return self._end()

    def _end(self) -> bytes:
        if self._ended:
            return b""
        self._ended = True
        return self._meter.end()
