"""A caller's connection: requests in order, one at a time, read by aiohttp's C parser."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import StreamReader
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParserPy

from gateway.domain.errors import Code, Denied, bad_request
from gateway.domain.settings import ListenerLimits
from gateway.protocol.http.framing import Framing
from gateway.protocol.http.unreadable import advice_on
from gateway.proxy.caller import Caller
from gateway.proxy.connections import Connections
from gateway.proxy.exchange import Exchange
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import READ_BUFFER

# Time for the caller to read the answer: a close with unread input resets the connection.
LINGER_SECONDS = 2.0
# Without its C extension aiohttp falls back, silently, to Python parsers that accept requests
# which the C parsers refuse.
PARSERS_COMPILED = HttpRequestParser is not HttpRequestParserPy
MAX_HEAD = 65_536
# Pipelined bytes that are held without pausing reads: an empty line, or a few requests.
PIPELINE_BUFFER = 16_384
# Pipelined requests served before other connections get their turn: fewer slow a fast caller down.
REQUESTS_IN_A_ROW = 128


@dataclass(frozen=True, slots=True)
class Callbacks:
    """`serve` answers one request. `refuse` answers a request whose head could not be read; the
    bytes are what was received of it. `bug` handles an unexpected error."""

    serve: Callable[[Exchange], Awaitable[None]]
    refuse: Callable[["ClientConnection", Denied, bytes], None]
    bug: Callable[["ClientConnection", BaseException], None]


class ClientConnection(Caller):
    """One accepted connection: its requests are served one after the other. `register` holds all
    open connections, for the drain."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: ListenerLimits,
        callbacks: Callbacks,
        register: Connections,
        outbox: Outbox,
    ) -> None:
        super().__init__(loop, limits, outbox)
        self._requests = HttpRequestParser(
            self,
            loop,
            READ_BUFFER,
            max_line_size=limits.max_line,
            max_field_size=limits.max_header,
            max_headers=limits.max_headers,
            auto_decompress=False,
            max_msg_queue_size=1,
        )
        self._parser = self._requests
        self._callbacks = callbacks
        self._register = register
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._arrived: tuple[RawRequestMessage, StreamReader] | None = None
        self._payload: StreamReader | None = None
        self._buffered = b""
        self._framing = Framing()
        self._lingering = False
        self.exchange: Exchange | None = None
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        full = len(self._register) >= self.limits.max_connections
        if full and not self._register.make_room():
            self.abort()
            return
        self._register.add(self)
        self.deadline.set(self.limits.head)
        self._task = self._register.tasks.begin(self._run())
        self._task.add_done_callback(self._on_done)

    def give_way(self) -> None:
        """Close an idle connection to make room for another one."""
        self.close()
        # A caller that keeps its end open, or does not read, must not keep the place.
        self.send_deadline.set(LINGER_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._register.discard(self)
        if not self.ended.done():
            self.ended.set_result(None)
        if self._task is not None and not self._task.done() and self.peer is None:
            # The caller is gone: end all work for it, reading the agent's answer included.
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self.peer is not None:
            self.relay(data)
            return
        if self._lingering:
            return
        if self._received_whole:
            self._buffer(data)
            return
        try:
            messages, upgraded, tail = self._requests.feed_data(data)
        except HttpProcessingError as problem:
            self._unreadable(problem, data)
            return
        if messages:
            self._take(*messages[0], data)
        elif self._framing.in_body:
            self._scan_body(data)
        elif self._payload is None and data:
            self._partial_head(data)
        if upgraded:
            self._buffered += tail

    def _take(self, message: RawRequestMessage, payload: StreamReader, data: bytes) -> None:
        """Handle a complete head. `data`: the last bytes of the head, and what follows it."""
        received = self._framing.head(message, data, ended=payload.is_eof())
        if received is None:
            self._refuse(Denied(Code.BAD_REQUEST, close=True))
            return
        self._arrived = message, payload
        self._payload = payload
        self.deadline.clear()
        self._wake()
        if message.chunked or message.upgrade:
            # The parser drops what was received together with the end of an upgrade.
            self._scan_body(received, message)

    def _scan_body(self, data: bytes, begin: RawRequestMessage | None = None) -> None:
        """Look for the end of a body. If the end is not clean, the connection carries no further
        request."""
        try:
            clean = self._framing.scan(data, begin)
        except ValueError as problem:
            clean = False
            if self._payload is not None:
                self._payload.set_exception(bad_request(str(problem)))
        if clean is False:
            self.closing = True

    async def _run(self) -> None:
        in_line = 0
        while True:
            if self._arrived is None and not self._lingering:
                self._waiter = self._loop.create_future()
                await self._waiter
            if self._arrived is None:
                break
            message, payload = self._arrived
            self._arrived = None
            self.exchange = Exchange(self, message, payload)
            await self._callbacks.serve(self.exchange)
            if self.peer is not None or not self.exchange.reusable:
                break
            if self.writing_paused:
                # A caller that pipelines and never reads would have all its answers held in memory.
                await self.drain_in_time()
            self._next_request(message)
            in_line = in_line + 1 if self._arrived is not None else 0
            if in_line % REQUESTS_IN_A_ROW == REQUESTS_IN_A_ROW - 1:
                # One read can hold thousands of requests.
                await asyncio.sleep(0)
        self._finish()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or received."""
        under_way = self._arrived is not None or self.receiving_head or self.exchange is not None
        return under_way and not self._all_sent

    @property
    def _all_sent(self) -> bool:
        """Whether all was sent and only the caller's close_notify (TLS) is waited for."""
        transport = self.transport
        if transport is None or not transport.is_closing():
            return False
        return transport.get_write_buffer_size() == 0

    @property
    def _received_whole(self) -> bool:
        """Whether all of a request was received: what comes now belongs to the next one."""
        return self._payload is not None and self._payload.is_eof()

    @property
    def receiving_head(self) -> bool:
        """Whether part of a request's head has been received, and nothing else."""
        return self._framing.head_size > 0 and self._arrived is None and self.exchange is None

    def close_after_next(self) -> None:
        """Close after the answer to the current request, or to the next one if none is running."""
        self.closing = True

    def end_now(self) -> bool:
        """End the connection now. Return whether the caller is told why, which takes a moment."""
        if self.go_away is None:
            if self.exchange is not None and self.exchange.started:
                self.exchange.abort()
            else:
                self.abort()
            return False
        self.go_away()
        return True

    def take_early(self) -> bytes:
        self._requests.message_consumed()
        # The parser holds what was received with the head; what came later is held here.
        _, _, first = self._requests.feed_data(b"")
        early, self._buffered = first + self._buffered, b""
        return early

    def _next_request(self, last: RawRequestMessage) -> None:
        self.exchange = None
        self._payload = None
        self._framing.next()
        self.deadline.set(self.limits.keep_alive)
        self._requests.message_consumed()
        if last.upgrade:
            # The parser stops at the end of an upgrade, and drops what it is given then.
            self._requests.feed_data(b"")
        if self._framing.more_held:
            self._feed_held(b"")
        # The parser gets more only once it holds no whole request: with each request that is
        # answered it would hold more, and it copies all that it holds.
        if self._buffered and not self._received_whole:
            held, self._buffered = self._buffered, b""
            self._resume_reading_for_buffer()
            self._feed_held(held)

    def _feed_held(self, data: bytes) -> None:
        """Have the parser look for the next request in what it holds, with `data` behind it."""
        self._framing.afresh = False
        self.data_received(data)
        self._framing.afresh = True

    def _buffer(self, data: bytes) -> None:
        """Hold bytes behind a request until that request is answered: at most PIPELINE_BUFFER and
        one read. Below PIPELINE_BUFFER reading goes on, so that the end of the connection is
        noticed."""
        self._buffered += data
        if len(self._buffered) > PIPELINE_BUFFER:
            self._pause_reading_for_buffer()

    def _partial_head(self, data: bytes) -> None:
        if self._framing.head_size == 0:
            self.deadline.set(self.limits.head)
        self._framing.part(data)
        if self._framing.head_size > MAX_HEAD:
            self._refuse(Denied(Code.HEAD_TOO_LARGE, close=True))

    def _unreadable(self, problem: HttpProcessingError, data: bytes) -> None:
        """RFC 9112 section 2.2: nothing behind bytes that cannot be parsed can be trusted."""
        if self._payload is not None:
            self.closing = True
            self._payload.set_exception(Denied(Code.BAD_REQUEST, close=True))
            return
        bad = bad_request(advice_on(data))
        if isinstance(problem, LineTooLong):
            in_headers = self._framing.is_in_headers(data, self.limits.max_line)
            code = Code.HEAD_TOO_LARGE if in_headers else Code.URL_TOO_LONG
            bad = Denied(code, close=True)
        elif "Too many headers" in str(problem.message):
            bad = Denied(Code.HEAD_TOO_LARGE, close=True)
        self._refuse(bad, data)

    def _refuse(self, denied: Denied, data: bytes = b"") -> None:
        self.closing = True
        self._callbacks.refuse(self, denied, self._framing.so_far(data))
        self._lingering = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self) -> None:
        if self.transport is None or self.transport.is_closing() or self.peer is not None:
            # An end of the stream before a reset would make a cut answer look whole.
            return
        all_read = self._payload is None or self._payload.is_eof()
        if all_read and not (self._lingering or self._framing.more_held or self._buffered):
            self.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Wait before closing: a close with unread input resets the connection, and the caller may
        lose the answer."""
        self._lingering = True
        self._resume_transport_reading()
        self._outbox.flush()
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline.set(LINGER_SECONDS)

    def _on_deadline(self) -> None:
        if self._lingering:
            self.close()
        elif self._payload is not None:
            self.closing = True
            self._payload.set_exception(Denied(Code.REQUEST_TIMEOUT, close=True))
        elif self._framing.head_size:
            self._refuse(Denied(Code.REQUEST_TIMEOUT, close=True))
        else:
            self.close()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._callbacks.bug(self, error)
            self._finish()
        # A cancelled task keeps its frames, and with them a received body, in memory.
        self._task = None
