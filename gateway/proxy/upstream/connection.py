"""A connection to an upstream: one request at a time, the answer read by aiohttp's C parser."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError

from gateway.domain.errors import Code, Denied, GatewayError
from gateway.protocol.http.answer import BODILESS
from gateway.protocol.http.trailers import are_malformed
from gateway.proxy.body import Body, WholeBody
from gateway.proxy.deadline import Deadline
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import READ_BUFFER, Stream

MAX_LINE = 16_384
MAX_HEADERS = 256
_HEAD_END = b"\r\n\r\n"
_NO_MORE = "No More"
# A parser that is between two answers takes this for an answer.
_PROBE = f"HTTP/1.1 204 {_NO_MORE}\r\n\r\n".encode()
# RFC 9110 section 15.2 allows any number of interim answers; a flood of them is an attack.
MAX_INTERIM = 16

Answer = tuple[RawResponseMessage, Body]


class UpstreamLostError(GatewayError):
    """The agent closed the connection before the first byte of an answer: it may or may not have
    processed the request."""


class CutError(GatewayError):
    """An answer broke off; what was passed on of it must not look whole."""


class UpstreamConnection(Stream):
    """`home`: the list of idle connections that it is kept in. `on_end`: called once it is lost.
    `reused`: it has carried a request before. `retires`: the loop's time after which it carries no
    further request."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        home: list["UpstreamConnection"],
        on_end: Callable[["UpstreamConnection"], None],
        outbox: Outbox,
    ) -> None:
        super().__init__(loop, outbox)
        self.home = home
        self.reused = False
        self.retires = inf
        self._on_end = on_end
        self._idle = True
        # This parser is fed nothing but whole heads, so that nothing of one answer is left in it.
        self._heads = self._parser_for(bodiless=True)
        self._answers: HttpResponseParser | None = None
        self._answer: asyncio.Future[Answer] = loop.create_future()
        self._payload: Body | None = None
        self._message: RawResponseMessage | None = None
        self._bodiless = False
        self._spoiled = False
        self._heard = False
        self._said_end = False
        self._interim = 0
        self._early = b""
        self.idle_since = 0.0
        self.deadline = Deadline(loop, self._on_deadline)

    @property
    def usable(self) -> bool:
        """Whether written bytes are still sent: no longer once the connection begins to close."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether the answer was received to its end and another request may follow."""
        whole = self._whole()
        return self.usable and not self._spoiled and whole is not None and not whole[0].should_close

    def _whole(self) -> Answer | None:
        """Return the answer once all of it was received: bytes behind it belong to no request."""
        message, payload = self._message, self._payload
        # After a 101 the agent sends frames, even if the upgrade was refused here.
        if message is None or message.code == 101 or payload is None or not payload.is_eof():
            return None
        return message, payload

    def _parser_for(self, *, bodiless: bool) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            READ_BUFFER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            response_with_body=not bodiless,
            read_until_eof=True,
            auto_decompress=False,
        )

    def expect_answer(self, *, bodiless: bool) -> asyncio.Future[Answer]:
        """Begin a new exchange; `bodiless`: of a HEAD request, whose answer has no body.

        Return a future of the final answer's head and its body, which may still be on its way.
        """
        # A used parser may hold the beginning of an answer that no request asked for.
        self._answers = None
        self._bodiless = bodiless
        self._idle = False
        self._answer = self._loop.create_future()
        self._message = self._payload = None
        self._heard = False
        self._interim = 0
        return self._answer

    def listen_again(self) -> asyncio.Future[Answer]:
        """Return a future of the answer that was expected already, for another reader: the first
        one has left."""
        if self._message is not None and self._payload is not None:
            self._answer = self._loop.create_future()
            self._answer.set_result((self._message, self._payload))
        elif self._answer.done():
            self._answer = self._loop.create_future()
            if not self.usable:
                self._fail(Denied(Code.UPSTREAM_UNREACHABLE))
        return self._answer

    @property
    def answer_arrived(self) -> bool:
        """Whether the final answer's head was received."""
        return self._answer.done()

    def take_early(self) -> bytes:
        """Return the bytes that the agent sent behind its 101, for the tunnel that it opened."""
        early, self._early = self._early, b""
        return early

    def drop(self) -> None:
        """Abort the connection: nothing more of this exchange is needed."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            self.relay(data)
            return
        if self._idle:
            # Bytes that no request asked for would become the next caller's answer.
            self.close()
            return
        if self._message is not None and self._message.code == 101:
            # More of them than one read takes come before the tunnel is open.
            self._early += data
            return
        first_piece = not self._heard
        self._heard = self._heard or bool(data)
        if first_piece and not self._bodiless and len(data) <= READ_BUFFER:
            whole = self._read_whole(data)
            if whole is not None:
                self._take(*whole)
                return
        self._read_on(data, first_piece=first_piece)

    def _read_whole(self, data: bytes) -> Answer | None:
        """Return the answer if `data` is one whole answer and nothing else, as most are; None if it
        may be anything else."""
        head, end, body = data.partition(_HEAD_END)
        # The parser also ends a head at bare LFs: then this is some other empty line.
        if not end or head.count(b"\n") != head.count(b"\r\n"):
            return None
        try:
            messages, _, _ = self._heads.feed_data(head + end)
        except HttpProcessingError:
            # The other parser refuses it too, and that ends the connection.
            return None
        if len(messages) != 1:
            return None
        message, _ = messages[0]
        length = message.headers.get("Content-Length", "")
        if message.code in BODILESS:
            # What some agents send behind it all the same belongs to nobody (RFC 9112 section 6.3).
            self._spoiled, body, whole = self._spoiled or bool(body), b"", True
        else:
            whole = length == str(len(body)) and not message.chunked and message.code >= 200
        return (message, WholeBody(body)) if whole else None

    def _read_on(self, data: bytes, *, first_piece: bool) -> None:
        """Read a piece of an answer that comes in several, or that may be malformed."""
        if self._whole() is not None:
            self._spoiled = self._spoiled or bool(data)
            return
        if self._answers is None:
            self._answers = self._parser = self._parser_for(bodiless=self._bodiless)
        try:
            messages, upgraded, tail = self._answers.feed_data(data)
        except HttpProcessingError:
            if not (first_piece and self._bodiless and self._take_head_alone(data)):
                self._fail(Denied(Code.UPSTREAM_PROTOCOL))
            return
        for message, payload in messages:
            self._take(message, payload)
        if upgraded:
            self._early += tail
        if (whole := self._whole()) is not None:
            self._check_trailers(*whole, data)
            self._spoiled = self._spoiled or _holds_more(self._answers)
        if self.transport is None:
            # The parser held this back when the connection ended.
            self._end_body()

    def _take(self, message: RawResponseMessage, payload: Body) -> None:
        if message.version.major != 1:
            # The parser reads HTTP/0.9 and 2.0 as well, whose framing is another one.
            self._fail(Denied(Code.UPSTREAM_PROTOCOL))
        elif 100 <= message.code < 200 and message.code != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._fail(Denied(Code.UPSTREAM_PROTOCOL))
        elif self._message is not None:
            self._spoiled = True
        else:
            self._message, self._payload = message, payload
            if message.code == 101:
                # The tunnel reads on.
                self._pause_reading_for_buffer()
            # A 204 has no body, but the one that its head announces may still arrive.
            self._spoiled = self._spoiled or (message.code == 204 and _promises_body(message))
            if not self._answer.done():
                self._answer.set_result((message, payload))

    def _take_head_alone(self, data: bytes) -> bool:
        """Read the head of an answer to HEAD that has a body all the same, as some agents send it;
        the connection is not used again. Return whether there is a head."""
        self._spoiled = True
        end, rest = _HEAD_END, data
        with suppress(HttpProcessingError):
            # Interim answers have heads of their own.
            while end and not self._answer.done():
                head, end, rest = rest.partition(_HEAD_END)
                messages, _, _ = self._parser_for(bodiless=True).feed_data(head + end)
                for message, payload in messages:
                    self._take(message, payload)
        return self._message is not None

    def _check_trailers(self, message: RawResponseMessage, body: Body, end: bytes) -> None:
        if message.chunked and are_malformed(end):
            self._spoiled = True
            body.set_exception(CutError("The answer's trailers are malformed."))

    def keep_idle(self, seconds: float) -> None:
        """Keep the connection for another request, for at most `seconds`."""
        self._idle = self.reused = True
        self.home.append(self)
        self.idle_since = self._loop.time()
        self.deadline.set(seconds)

    def eof_received(self) -> None:
        """Note that the agent ended the stream; returning None closes the transport.

        Over TLS it is called for a close_notify alone: anybody can end the TCP connection.
        """
        self._said_end = True

    def connection_lost(self, exc: BaseException | None) -> None:
        self.deadline.close()
        unread, said_end = self.take_unread(exc) if self.peer is None else (b"", False)
        self._said_end = self._said_end or said_end
        super().connection_lost(exc)
        self._on_end(self)
        if self in self.home:
            self.home.remove(self)
        if self._idle or self.peer is not None:
            return
        if unread:
            # An agent may answer, and close, before it has read the whole request.
            self.data_received(unread)
        elif self._message is not None:
            self._end_body()
        if self._message is None:
            lost = UpstreamLostError("It ended the connection and answered nothing.")
            # Over TLS the agent may have sent an alert that says why.
            lost.__cause__ = exc
            self._fail(Denied(Code.UPSTREAM_UNREACHABLE) if self._heard else lost)

    def _end_body(self) -> None:
        """End the body with the connection: properly if it has no length and the agent ended the
        stream, else as cut."""
        payload = self._payload
        if payload is None or payload.is_eof():
            return
        if self._reading_paused:
            # The parser holds the rest until the body is read.
            return
        if self._said_end and self._answers is not None:
            # It raises if bytes of a length, or the last chunk, are missing.
            with suppress(HttpProcessingError, ValueError):
                self._answers.feed_eof()
        if not payload.is_eof():
            payload.set_exception(CutError("The agent's answer was cut."))

    def _on_deadline(self) -> None:
        if self._idle or self.peer is not None:
            self.close()
        else:
            self._fail(Denied(Code.UPSTREAM_TIMEOUT))

    def _fail(self, error: GatewayError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            # Retrieved here, because nobody may be waiting any more.
            self._answer.exception()
        elif self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(CutError(str(error)))
        self._spoiled = True
        self.drop()


def _promises_body(message: RawResponseMessage) -> bool:
    return message.chunked or message.headers.get("Content-Length", "0") != "0"


def _holds_more(parser: HttpResponseParser) -> bool:
    """Whether the parser holds the beginning of another answer behind the last one. It does not
    tell, but it reads the probe as an answer only if nothing is before it."""
    try:
        messages, _, _ = parser.feed_data(_PROBE)
    except HttpProcessingError:
        return True
    # The parser takes a trailer of the last answer for a header of this one.
    return [message.reason for message, _ in messages] != [_NO_MORE]
