"""A message to a tool server that is called over HTTP."""

from gateway.domain.errors import Code, Denied
from gateway.protocol import strict_json
from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.request import Header, media_type
from gateway.protocol.mcp import headers as mcp_headers
from gateway.protocol.scrub import scrubbed_headers
from gateway.proxy.body import Body, WholeBody
from gateway.proxy.inflated import inflated
from gateway.proxy.scrubbed import check_refused, drop_service_limits, scrubbed
from gateway.proxy.tools.answers import EVENTS, JSON, EventsBody, read_all, shown_json
from gateway.proxy.tools.mcp_exchange import McpExchange
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.outgoing import Injection, Outgoing
from gateway.services.credentials.inject import Injected, Values
from gateway.services.tools.sessions import ToolSessions

_NO_MCP = "The server does not answer as one of tools does. Tell the gateway's operator."
_REDIRECTED = (
    "The server redirects, and no redirect is followed. Ask the gateway's operator to write where "
    "it leads as the upstream of this tool: often a slash at the end is missing, or one too many."
)


class HttpMcpExchange:
    """A message to a tool server: what is sent of it over HTTP, and what is shown of the answer.
    `tool`: the tool that is called, for the audit; empty: none is."""

    def __init__(self, mcp: McpExchange, sessions: ToolSessions) -> None:
        self._mcp = mcp
        self._sessions = sessions
        self.tool = mcp.tool

    def check(self, injected: Injected) -> None:
        """Raise Denied if the call cannot be made with these values."""
        self._mcp.set_injected(injected)

    def body(self, values: Values) -> bytes | None:
        """Return the body to send; None: there is none."""
        message = self._mcp.message(values)
        return None if message is None else strict_json.encode(message)

    async def shown(
        self,
        outgoing: Outgoing,
        injection: Injection,
        head: AnswerHead,
        connection: UpstreamConnection,
        payload: Body,
    ) -> tuple[Outgoing, Body]:
        """Return what `scrubbed` does, searched message by message if the answer holds messages."""
        kind = media_type(head.headers)
        if head.status < 300 and not kind and not head.bodiless:
            await _look_for_end(outgoing, head, connection, payload)
        _check_kind(head, kind)
        if any(name.lower() == mcp_headers.SESSION for name, _ in head.headers):
            head.headers = [await self._sealed(header) for header in head.headers]
        looks = kind == EVENTS or (kind == JSON and (self._mcp.inspects or self._mcp.may_be_task))
        if head.bodiless or not looks:
            if not head.bodiless and head.content_length != 0:
                check_refused(injection, head)
                self._mcp.check_unread()
            return scrubbed(outgoing, injection, head, payload)
        check_refused(injection, head)
        outgoing = drop_service_limits(outgoing, head)
        body = inflated(head, payload)
        known = self._mcp.known
        if known is not None:
            head.headers = scrubbed_headers(head.headers, known.plain)
        # Messages are written anew in UTF-8: a client must not decode them as anything else.
        head.headers = [h for h in head.headers if h[0].lower() != b"content-type"]
        head.headers.append((b"Content-Type", kind))
        head.content_length = None
        if kind == EVENTS:
            return outgoing, EventsBody(body, self._mcp, self._sessions)
        if isinstance(body, WholeBody):
            whole = body.read_nowait()
        else:
            idle = outgoing.callee.timeouts.idle
            whole = await read_all(connection, body, idle, self._mcp.memory)
        text = await shown_json(whole, self._mcp, self._sessions)
        head.content_length = len(text)
        return outgoing, WholeBody(text)

    async def _sealed(self, header: Header) -> Header:
        if header[0].lower() != mcp_headers.SESSION:
            return header
        session = header[1].decode("latin-1")
        return header[0], (await self._sessions.seal(session, self._mcp.owner)).encode("ascii")


async def _look_for_end(
    outgoing: Outgoing, head: AnswerHead, connection: UpstreamConnection, payload: Body
) -> None:
    """Wait to see whether an answer without a type is empty: some servers end a session, or accept
    a notification, with a chunked answer that has nothing but the last chunk."""
    if head.content_length is not None:
        return
    connection.deadline.set(outgoing.callee.timeouts.idle)
    piece = await payload.readany()
    connection.deadline.clear()
    error = payload.exception()
    if error is not None:
        raise error
    if not piece:
        head.content_length = 0


def _check_kind(head: AnswerHead, kind: bytes) -> None:
    """Raise Denied if no tool server answers so. `kind`: the media type."""
    passed_on = kind in (JSON, EVENTS) or head.content_length == 0 or head.status in (202, 204)
    if 300 <= head.status < 400:
        raise Denied(Code.UPSTREAM_PROTOCOL, _REDIRECTED)
    if head.status < 300 and not passed_on:
        raise Denied(Code.UPSTREAM_PROTOCOL, _NO_MCP)
