"""The part of an answer that is received after its head was written, passed on piece by piece."""

from asyncio import CancelledError

from gateway.domain.errors import Denied, drop_traceback
from gateway.protocol.http.chunks import LAST_CHUNK, chunk
from gateway.protocol.http.error_event import ends_at_boundary
from gateway.proxy.body import Body
from gateway.proxy.deadline import Deadline
from gateway.proxy.exchange import Exchange
from gateway.proxy.upstream.connection import CutError

_TAIL = 4


class AnswerStream:
    """`deadline`: until when the next piece of `payload` is waited for. `chunked`: for the caller.
    `events`: the body is an event stream, into which an event can be written. `begun`: the part of
    the body that was passed on with the head."""

    def __init__(
        self,
        exchange: Exchange,
        deadline: Deadline,
        payload: Body,
        *,
        chunked: bool,
        events: bool,
        begun: bytes,
    ) -> None:
        self._exchange = exchange
        self._deadline = deadline
        self._payload = payload
        self._chunked = chunked
        self._events = events
        self._tail = begun[-_TAIL:]
        self._cut_for: Denied | None = None

    async def run(self, idle: float) -> None:
        """Pass everything on. `idle`: the longest silence of the agent in seconds.

        An answer that breaks off is cut, so that it cannot look whole.
        """
        try:
            await self._relay(idle)
        except (CutError, ConnectionError) as cut:
            drop_traceback(cut)
            # Only a chunked body shows that its end is missing: a last event could fill up the
            # Content-Length of another.
            if self._cut_for is not None and self._events and self._chunked:
                self._write_error(self._cut_for)
            else:
                self._exchange.abort()
        except CancelledError:
            self._exchange.note_caller_left()
            raise

    def cut(self, denied: Denied) -> None:
        """End the answer now, because its key would be refused by now."""
        if self._cut_for is not None:
            return
        self._cut_for = denied
        if self._exchange.client.writing_paused:
            # The caller does not read, so it cannot be told why.
            self._exchange.abort()
        elif not self._payload.is_eof():
            self._payload.set_exception(CutError("The key was closed."))

    async def _relay(self, idle: float) -> None:
        exchange, deadline = self._exchange, self._deadline
        while True:
            deadline.set(idle)
            piece = await self._payload.readany()
            deadline.clear()
            if not piece:
                break
            if self._events:
                self._tail = (self._tail + piece[-_TAIL:])[-_TAIL:]
            if self._payload.at_eof() and not exchange.client.writing_paused:
                exchange.release_lease()
            await exchange.write(chunk(piece) if self._chunked else piece)
        # What follows the last piece can still show that the answer is not what it seems.
        error = self._payload.exception()
        if error is not None:
            raise error
        if self._chunked:
            exchange.release_lease()
            await exchange.write(LAST_CHUNK)

    def _write_error(self, denied: Denied) -> None:
        """Write a last event, where one can stand, and no last chunk: a plain close lets the event
        be read, and the missing chunk still shows that the answer was cut."""
        exchange = self._exchange
        if ends_at_boundary(self._tail):
            exchange.client.write(chunk(exchange.last_event(denied)))
        exchange.cut = True
        exchange.close_after()
        exchange.client.close()
