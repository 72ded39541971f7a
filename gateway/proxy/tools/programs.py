"""Tools that are programs on this machine, served over HTTP: the gateway is the MCP endpoint."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.domain.errors import Code, Denied, not_allowed
from gateway.domain.policies.tools import Transport
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.request import Header
from gateway.proxy.deadline import Deadline
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.tools.answers import EVENTS, JSON, as_event
from gateway.proxy.tools.task import ToolTask
from gateway.proxy.tools.transport import Message, ToolAnswer, ToolCall, ToolTransport
from gateway.proxy.tools.under_way import stop
from gateway.proxy.upstream.connection import CutError
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.credentials.inject import Injected
from gateway.services.tools.sessions import ToolSessions

# Whatever stands between the gateway and a caller gives up on longer silences.
PING_SECONDS = 15.0
# For a transport, which keeps the time by itself, to say so.
_GRACE_SECONDS = 5.0
_PING = b": ping\n\n"
_NO_CACHE = (b"Cache-Control", b"no-store")


class ToolPrograms:
    """`transports`: what serves the programs of each kind."""

    def __init__(
        self,
        transports: Mapping[Transport, ToolTransport],
        forwarder: Forwarder,
        sessions: ToolSessions,
    ) -> None:
        self._transports = transports
        self._forwarder = forwarder
        self._sessions = sessions

    async def serve(
        self, exchange: Exchange, outgoing: Outgoing, task: ToolTask, injected: Injected
    ) -> None:
        """Answer with what the program says; Denied while nothing was said."""
        tools = outgoing.agent.tools
        transport = self._transports.get(tools.transport) if tools is not None else None
        if transport is None:
            raise Denied(Code.UPSTREAM_UNREACHABLE, "This gateway runs no programs as tools.")
        call = _call(exchange, outgoing, task, injected)
        if outgoing.head.method == "DELETE":
            if not await transport.end(call):
                # Without sessions there is neither an end nor a stream of the program's own.
                raise not_allowed(("POST",))
            body = ProgramBody(_nothing(), task)
            await self._forwarder.answer(exchange, outgoing, _empty(204), body)
        elif outgoing.head.method == "GET":
            listened = await transport.listen(call)
            if listened is None:
                raise not_allowed(("POST",))
            await self._stream(exchange, outgoing, ProgramBody(listened, task))
        else:
            await self._answer(exchange, outgoing, task, await transport.ask(call))

    async def _answer(
        self, exchange: Exchange, outgoing: Outgoing, task: ToolTask, answer: ToolAnswer
    ) -> None:
        """As JSON where there is nothing but the response, else as events."""
        fields = await self._session_fields(task, answer)
        body = ProgramBody(answer.messages, task)
        try:
            asked = task.asked.rpc
            patience = outgoing.agent.timeouts.first_byte + _GRACE_SECONDS
            # A key that is lost while nothing is said yet ends the call too.
            with self._forwarder.inflight.stream(outgoing.standing(), body.refuse):
                first = await body.next_message(patience)
            if first is None or asked is None or not asked.is_request:
                if asked is not None and asked.is_request:
                    raise Denied(Code.UPSTREAM_PROTOCOL, "The program gave no answer.")
                await self._forwarder.answer(exchange, outgoing, _empty(202, fields), body)
            elif task.is_response(first):
                text = await task.shown(first)
                body.begin(text, whole=True)
                head = _head(JSON, len(text), fields)
                await self._forwarder.answer(exchange, outgoing, head, body)
            else:
                body.begin(await as_event(first, task))
                await self._stream(exchange, outgoing, body, fields)
        finally:
            await body.close()

    async def _stream(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        body: "ProgramBody",
        fields: tuple[Header, ...] = (),
    ) -> None:
        try:
            head = _head(EVENTS, None, fields)
            await self._forwarder.answer(exchange, outgoing, head, body)
        finally:
            await body.close()

    async def _session_fields(self, task: ToolTask, answer: ToolAnswer) -> tuple[Header, ...]:
        if not answer.session:
            return ()
        sealed = await self._sessions.seal(answer.session, task.owner)
        return ((b"Mcp-Session-Id", sealed.encode("ascii")),)


class ProgramBody:
    """Stands in for the reader of a body: what a program says, as events."""

    def __init__(self, messages: AsyncIterator[Message], task: ToolTask) -> None:
        self._messages = messages
        self._task = task
        self._begun = b""
        self._ended = False
        self._error: BaseException | None = None
        self._next: asyncio.Future[Message | None] | None = None
        # A transport keeps the time by itself, and says so in an answer: this one ends nothing.
        self.deadline = Deadline(asyncio.get_running_loop(), lambda: None)

    def begin(self, text: bytes, *, whole: bool = False) -> None:
        """What is to be read first; `whole`: and nothing after it."""
        self._begun, self._ended = text, whole

    def is_eof(self) -> bool:
        return self._ended

    def at_eof(self) -> bool:
        return self._ended and not self._begun

    def exception(self) -> BaseException | None:
        return self._error

    def set_exception(self, error: BaseException, /) -> None:
        """End it now."""
        self._error = error
        if self._next is not None:
            self._next.cancel()

    def refuse(self, code: Code) -> None:
        """The key would be refused now."""
        self.set_exception(Denied(code))

    def read_nowait(self, most: int, /) -> bytes:
        begun, self._begun = self._begun, b""
        return begun

    async def readany(self) -> bytes:
        """The next event, or a sign of life; empty at the end, CutError where it is cut."""
        if self._begun:
            return self.read_nowait(-1)
        try:
            message = await self.next_message(PING_SECONDS)
        except Denied as denied:
            if denied.code is Code.UPSTREAM_TIMEOUT:
                return _PING
            raise CutError(str(denied)) from None
        return b"" if message is None else await as_event(message, self._task)

    async def next_message(self, seconds: float) -> Message | None:
        """None at the end; Denied(upstream_timeout) where none comes in time: it is waited for
        on."""
        if self._error is not None:
            raise self._error
        if self._next is None:
            self._next = asyncio.ensure_future(_next(self._messages))
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if not done:
            raise Denied(Code.UPSTREAM_TIMEOUT)
        come, self._next = self._next, None
        if come.cancelled():
            raise self._error or CutError("The program was ended.")
        message = come.result()
        self._ended = message is None
        return message

    async def close(self) -> None:
        """End what the program still does for this caller."""
        self.deadline.close()
        if self._next is not None:
            await stop(self._next)
            self._next = None
        aclose = getattr(self._messages, "aclose", None)
        if aclose is not None:
            await aclose()


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    return await anext(messages, None)


def _call(exchange: Exchange, outgoing: Outgoing, task: ToolTask, injected: Injected) -> ToolCall:
    values = injected.newest
    message: Mapping[str, Any] = task.message(values) or {}
    return ToolCall(
        outgoing.agent,
        message,
        outgoing.passage.key_id,
        task.user,
        task.asked.version,
        task.asked.session,
        values.env,
        injected.secrets,
        values.uses,
        exchange.request_id,
        task.reflected,
    )


async def _nothing() -> AsyncIterator[Message]:
    messages: tuple[Message, ...] = ()
    for message in messages:
        yield message


def _head(kind: bytes, length: int | None, fields: tuple[Header, ...]) -> AnswerHead:
    headers = [*fields, _NO_CACHE, (b"Content-Type", kind)]
    return AnswerHead(200, headers, content_length=length)


def _empty(status: int, fields: tuple[Header, ...] = ()) -> AnswerHead:
    return AnswerHead(status, [*fields], content_length=0, bodiless=True)
