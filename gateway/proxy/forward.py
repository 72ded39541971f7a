"""Send an admitted request to its agent and stream the answer back."""

from collections.abc import Sequence

from gateway.domain.credentials import parse_id
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import Upstream
from gateway.protocol.http.answer import AnswerHead, read_answer, write_answer
from gateway.protocol.http.chunks import LAST_CHUNK, chunk
from gateway.protocol.http.error_event import is_event_stream
from gateway.proxy.body import Body
from gateway.proxy.deadline import Deadline
from gateway.proxy.exchange import Exchange
from gateway.proxy.inflight import Inflight
from gateway.proxy.metered import Metering
from gateway.proxy.scrubbed import scrubbed
from gateway.proxy.sockets import is_starved
from gateway.proxy.streaming import AnswerStream
from gateway.proxy.upstream.balance import Balance, Health
from gateway.proxy.upstream.call import Call
from gateway.proxy.upstream.connection import (
    Answer,
    CutError,
    UpstreamConnection,
    UpstreamLostError,
)
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.proxy.upstream.pool import UpstreamPool
from gateway.proxy.websocket import open_tunnel
from gateway.services.telemetry.traffic import Traffic
from gateway.tasks import Tasks, cancel_and_wait

UPSTREAM_FAILED = frozenset(
    {Code.UPSTREAM_UNREACHABLE, Code.UPSTREAM_PROTOCOL, Code.UPSTREAM_TIMEOUT}
)
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"
_MANY_WAIT = "Too many requests wait for this upstream. Try again in a second."


class Forwarder:
    """Carries exchanges over pooled connections. `most_waiting`: requests that may wait for the
    answer of one agent at a time."""

    def __init__(
        self,
        pool: UpstreamPool,
        balance: Balance,
        inflight: Inflight,
        traffic: Traffic,
        most_waiting: int,
    ) -> None:
        self._most_waiting = most_waiting
        self._pool = pool
        self._balance = balance
        self.inflight = inflight
        self._open_streams = traffic.open_streams
        self._beside = Tasks()

    async def forward(self, exchange: Exchange, outgoing: Outgoing) -> None:
        """Answer `exchange` with the agent's answer.

        Denied while nothing has been sent to the caller; after that a failure aborts the
        connection, because a second status line inside a body would look like part of it.
        """
        upstreams = self._balance.order(outgoing.callee.upstreams)
        upstream = upstreams[0]
        health = self._balance.health(upstream)
        waiting = health.waiting if len(upstreams) == 1 else self._balance.waiting(upstreams)
        if waiting >= self._most_waiting:
            raise Denied(Code.BUSY, _MANY_WAIT, retry_after=1)
        connection = self._pool.take(upstream, repeatable=outgoing.repeatable)
        if connection is None:
            upstream, connection = await self._acquire(outgoing, upstreams)
            health = self._balance.health(upstream)
        health.busy += 1
        call = Call(exchange, outgoing, upstream, connection)
        try:
            try:
                answer = await call.answer()
            except UpstreamLostError:
                if not (connection.reused and outgoing.repeatable):
                    raise
                health.busy -= 1
                # A stand-in: `_acquire` counts failures by itself, and none may be counted twice.
                health = Health(busy=1)
                upstream, connection = await self._acquire(outgoing, upstreams, kept=False)
                health = self._balance.health(upstream)
                health.busy += 1
                call = Call(exchange, outgoing, upstream, connection)
                answer = await call.answer()
            await self._pass_on(exchange, outgoing, call, answer, health)
        except UpstreamLostError as lost:
            health.failed(self._balance.clock())
            self._pool.log_unreachable(upstream, lost)
            raise Denied(Code.UPSTREAM_UNREACHABLE) from lost
        except CutError as cut:
            # The answer broke off before anything of it was passed on.
            health.failed(self._balance.clock())
            raise Denied(Code.UPSTREAM_PROTOCOL) from cut
        except Denied as denied:
            if denied.code in UPSTREAM_FAILED:
                health.failed(self._balance.clock())
            raise
        finally:
            health.busy -= 1
            metering = outgoing.injection.metering if outgoing.injection is not None else None
            if metering is None or not self._read_on(exchange, call, metering):
                self._settle(call)

    async def _acquire(
        self, outgoing: Outgoing, upstreams: Sequence[Upstream], *, kept: bool = True
    ) -> tuple[Upstream, UpstreamConnection]:
        """Return a connection to the first of `upstreams` that can be reached; `kept`: it may be a
        kept connection. Raise Denied if none can be reached.

        Trying the next one is safe: nothing has been sent, or nothing that must not be sent twice.
        """
        callee = outgoing.callee
        unreachable = Denied(Code.UPSTREAM_UNREACHABLE)
        for upstream in upstreams:
            waiting = self._pool.take(upstream, repeatable=outgoing.repeatable) if kept else None
            if waiting is not None:
                return upstream, waiting
            health = self._balance.health(upstream)
            # Otherwise an upstream that never answers a connect would look the least busy of all.
            health.busy += 1
            try:
                return upstream, await self._pool.connect(upstream, callee.timeouts.connect)
            except Denied as denied:
                if not is_starved(denied.__cause__):
                    health.failed(self._balance.clock())
                unreachable = denied
            finally:
                health.busy -= 1
        raise unreachable

    async def _pass_on(
        self, exchange: Exchange, outgoing: Outgoing, call: Call, answer: Answer, health: Health
    ) -> None:
        message, payload = answer
        connection, injection = call.connection, outgoing.injection
        exchange.answered = self._balance.clock()
        head = read_answer(
            message.code,
            message.raw_headers,
            method=outgoing.head.method,
            drop_limits=outgoing.limited and injection is None,
            drop_cors=outgoing.callee.cors is not None,
            drop_cookies=injection is not None and bool(injection.values.uses),
        )
        health.succeeded()
        if head.status == 101:
            connection.deadline.clear()
            with health.answers(), self._open_streams.track_inprogress():
                await open_tunnel(exchange, outgoing, connection, head, self.inflight, self._beside)
            return
        body: Body = payload
        if injection is not None:
            if injection.mcp is None:
                outgoing, body = scrubbed(outgoing, injection, head, payload)
            else:
                shown = injection.mcp.shown(outgoing, injection, head, connection, payload)
                outgoing, body = await shown
            if injection.metering is not None:
                body = injection.metering.wrap(head, body)
        stream = _begin(exchange, outgoing, head, body, connection.deadline)
        if stream is not None:
            with health.answers():
                await self._run(exchange, stream, outgoing)

    async def answer(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        head: AnswerHead,
        body: Body,
        deadline: Deadline,
    ) -> None:
        """Pass on an answer that comes from a program on this machine, not from an upstream."""
        exchange.answered = self._balance.clock()
        stream = _begin(exchange, outgoing, head, body, deadline)
        if stream is not None:
            await self._run(exchange, stream, outgoing)

    async def _run(self, exchange: Exchange, stream: AnswerStream, outgoing: Outgoing) -> None:
        owned = tuple(use.name for use in exchange.uses if parse_id(use.name).owner)
        with (
            self._open_streams.track_inprogress(),
            self.inflight.stream(outgoing.standing(owned), stream.cut),
        ):
            await stream.run(outgoing.callee.timeouts.idle)

    def _read_on(self, exchange: Exchange, call: Call, metering: Metering) -> bool:
        """Read the rest of an answer whose caller has left, in the background, to count its tokens.
        Return whether that was begun: the connection belongs to the reader then."""
        left = exchange.client.transport is None
        if not (left and call.sent_whole and metering.open):
            metering.settle()
            return False
        self._beside.begin(metering.read_on(call.connection))
        return True

    async def close(self) -> None:
        """End what runs in the background: answers that callers left, tunnels that still empty."""
        await cancel_and_wait(*self._beside)

    def _settle(self, call: Call) -> None:
        if call.sent_whole and call.connection.reusable:
            self._pool.release(call.connection)
        elif call.connection.peer is None:
            # A connection with a peer was a tunnel, which ends it by itself.
            call.connection.drop()
        call.end()


def _begin(
    exchange: Exchange, outgoing: Outgoing, head: AnswerHead, body: Body, deadline: Deadline
) -> AnswerStream | None:
    """Write the head, and the part of the body that has already been received: a small answer goes
    out in one write. Return what streams the rest; None if all was written. `deadline`: of `body`.
    """
    if outgoing.upgrade:
        # Behind a refused upgrade the caller's bytes are HTTP to some readers, frames to others.
        exchange.close_after()
    piece = b"" if head.bodiless else body.read_nowait()
    ended = head.bodiless or body.at_eof()
    if ended:
        exchange.release_lease()
        if not exchange.body_arrived:
            # What is left of the request is not read.
            exchange.close_after()
    chunked, framing = _framing(exchange, head)
    framed = chunk(piece) + (LAST_CHUNK if ended else b"") if chunked else piece
    exchange.begin(head.status, write_answer(head, outgoing.own, framing, framed))
    if ended:
        return None
    events = is_event_stream(head.headers)
    return AnswerStream(exchange, deadline, body, chunked=chunked, events=events, begun=piece)


def _framing(exchange: Exchange, head: AnswerHead) -> tuple[bool, bytes]:
    """Return whether the body is chunked for the caller, and the header lines of its framing."""
    lines = b""
    chunked = False
    if head.content_length is not None and head.status != 204:
        lines = b"Content-Length: %d\r\n" % head.content_length
    elif not head.bodiless:
        chunked = not exchange.http10
        if chunked:
            lines = _CHUNKED
        else:
            # HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
            exchange.close_after()
    if not exchange.keep_alive:
        lines += _CLOSE
    elif exchange.http10:
        lines += _KEEP_ALIVE
    return chunked, lines
