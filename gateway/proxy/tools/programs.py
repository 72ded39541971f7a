"""Tools that are programs on this machine: the gateway is their MCP endpoint over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from gateway.domain.errors import Code, Denied, not_allowed
from gateway.domain.policies.tools import Transport
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.mcp import message as mcp_message
from gateway.protocol.mcp.rpc import Message
from gateway.proxy.deadline import Deadline
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.tools.answers import EVENTS, JSON, as_event
from gateway.proxy.tools.mcp_exchange import McpExchange
from gateway.proxy.tools.program_request import ProgramRequest
from gateway.proxy.tools.running_requests import stop
from gateway.proxy.tools.transports import CommandTransport, StdioTransport
from gateway.proxy.upstream.connection import CutError
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.credentials.inject import Injected
from gateway.services.tools.open_programs import Programs
from gateway.timers import timeout

# Proxies between the gateway and a caller give up on longer silences.
PING_SECONDS = 15.0
# Extra time for a transport, which has timeouts of its own, to report one.
_GRACE_SECONDS = 5.0
_PING = b": ping\n\n"
_NO_CACHE = (b"Cache-Control", b"no-store")


class ToolPrograms:
    def __init__(self, programs: Programs, forwarder: Forwarder) -> None:
        self._transports: dict[Transport, StdioTransport | CommandTransport] = {
            Transport.STDIO: StdioTransport(programs.servers),
            Transport.COMMAND: CommandTransport(programs.commands),
        }
        self._forwarder = forwarder

    async def serve(
        self, exchange: Exchange, outgoing: Outgoing, mcp: McpExchange, injected: Injected
    ) -> None:
        """Answer with the program's messages; raise Denied if it fails before the first one."""
        if outgoing.head.method != "POST":
            # There are no sessions, so none can be ended and no stream belongs to one.
            raise not_allowed(("POST",))
        transport = self._transports[mcp.server.tools.transport]
        messages = await transport.ask(_call(exchange, outgoing, mcp, injected))
        body = ProgramBody(messages, mcp)
        try:
            head = await self._begin(outgoing, mcp, body)
            await self._forwarder.answer(exchange, outgoing, head, body, body.deadline)
        finally:
            await body.close()

    async def _begin(self, outgoing: Outgoing, mcp: McpExchange, body: "ProgramBody") -> AnswerHead:
        """Return the head of the answer: JSON if the response is the only message, else events."""
        request = mcp.request.rpc
        patience = outgoing.callee.timeouts.first_byte + _GRACE_SECONDS
        # A key that is revoked before the first message ends the call too.
        with self._forwarder.inflight.stream(outgoing.standing(), body.refuse):
            first = await body.next_message(patience)
        if request is None or not request.is_request:
            return AnswerHead(202, [], content_length=0, bodiless=True)
        if first is None:
            raise Denied(
                Code.UPSTREAM_PROTOCOL, "The program gave no answer. Tell the gateway's operator."
            )
        if mcp.is_response(first):
            text = await mcp.shown(first)
            body.begin(text, whole=True)
            status = mcp_message.http_status(first, request.method, mcp.request.version)
            return _head(JSON, len(text), status)
        body.begin(await as_event(first, mcp))
        return _head(EVENTS)


class ProgramBody:
    """The messages of a program, read as a body of events."""

    def __init__(self, messages: AsyncGenerator[Message, None], mcp: McpExchange) -> None:
        self._messages = messages
        self._mcp = mcp
        self._begun = b""
        self._ended = False
        self._error: BaseException | None = None
        self._next: asyncio.Future[Message | None] | None = None
        # It ends nothing: transports have timeouts of their own, and report them in the answer.
        self.deadline = Deadline(asyncio.get_running_loop(), lambda: None)

    def begin(self, text: bytes, *, whole: bool = False) -> None:
        """Set what is read first; `whole`: nothing follows it."""
        self._begun, self._ended = text, whole

    def is_eof(self) -> bool:
        return self._ended

    def at_eof(self) -> bool:
        return self._ended and not self._begun

    def exception(self) -> BaseException | None:
        return self._error

    def set_exception(self, error: BaseException, /) -> None:
        """End the body now."""
        self._error = error
        if self._next is not None:
            self._next.cancel()

    def refuse(self, denied: Denied) -> None:
        """End the body, because its key would be refused by now."""
        self.set_exception(denied)

    def read_nowait(self) -> bytes:
        begun, self._begun = self._begun, b""
        return begun

    async def readany(self) -> bytes:
        """Return the next event, or a ping if there is none in time; empty at the end. Raise
        CutError if the body is cut."""
        if self._begun:
            return self.read_nowait()
        try:
            message = await self.next_message(PING_SECONDS)
        except Denied as denied:
            if denied.code is Code.UPSTREAM_TIMEOUT:
                return _PING
            raise CutError(str(denied)) from None
        return b"" if message is None else await as_event(message, self._mcp)

    async def next_message(self, seconds: float) -> Message | None:
        """Return the next message, None at the end. Raise Denied(upstream_timeout) if none comes in
        `seconds`; the next call goes on waiting for it."""
        if self._error is not None:
            raise self._error
        if self._next is None:
            self._next = asyncio.ensure_future(_next(self._messages))
        with suppress(TimeoutError):
            async with timeout(seconds):
                await asyncio.wait({self._next})
        if not self._next.done():
            raise Denied(Code.UPSTREAM_TIMEOUT)
        come, self._next = self._next, None
        if come.cancelled():
            raise self._error or CutError("The program was ended.")
        message = come.result()
        self._ended = message is None
        return message

    async def close(self) -> None:
        """End what the program still does for this call."""
        self.deadline.close()
        if self._next is not None:
            await stop(self._next)
            self._next = None
        await self._messages.aclose()


async def _next(messages: AsyncGenerator[Message, None]) -> Message | None:
    return await anext(messages, None)


def _call(
    exchange: Exchange, outgoing: Outgoing, mcp: McpExchange, injected: Injected
) -> ProgramRequest:
    values = injected.newest
    message: Mapping[str, Any] = mcp.message(values) or {}
    return ProgramRequest(
        mcp.server,
        message,
        outgoing.passage.key_id,
        mcp.user,
        mcp.request.version,
        values.env,
        injected.secrets,
        values.uses,
        exchange.request_id,
        mcp.note_reflected,
    )


def _head(kind: bytes, length: int | None = None, status: int = 200) -> AnswerHead:
    return AnswerHead(status, [_NO_CACHE, (b"Content-Type", kind)], content_length=length)
