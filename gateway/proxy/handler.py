"""One request from beginning to end, top to bottom."""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from time import time

from gateway.domain.errors import Code, Denied, drop_traceback
from gateway.domain.policies.snapshot import Agent, Callee, Model, Policies, ToolServer
from gateway.domain.traffic import Handled, Trace, unreadable
from gateway.log import log
from gateway.protocol.http.cors import answer_preflight, cors_block, cors_fields, is_preflight
from gateway.protocol.http.refusal import refusal
from gateway.protocol.http.reply import encode
from gateway.protocol.http.request import RequestHead, read_partial_head
from gateway.protocol.http.upstream_request import (
    caller_trace,
    forwarding_block,
    trace_block,
)
from gateway.protocol.mcp.message import TOOLS_PREFIX
from gateway.protocol.mcp.rpc import ToolRequest
from gateway.protocol.mcp.rpc import refusal as rpc_refusal
from gateway.protocol.models.request import MODELS_PREFIX
from gateway.protocol.pull import CREDENTIALS_PATH
from gateway.proxy import health
from gateway.proxy.client import ClientConnection
from gateway.proxy.connect import Connect
from gateway.proxy.exchange import Exchange
from gateway.proxy.forward import Forwarder
from gateway.proxy.ids import Ids
from gateway.proxy.models import Models
from gateway.proxy.pull import Pull
from gateway.proxy.services import Services
from gateway.proxy.tools.endpoint import Tools
from gateway.proxy.unread_cors import cors_of_unread
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.proxy.websocket import asks_for_websocket
from gateway.services.admission.admit import Gatekeeper
from gateway.services.admission.locate import (
    CONNECT_PREFIX,
    Located,
    check_oddities,
    find_callee,
    locate,
)
from gateway.services.admission.own_places import HEALTH_PATHS
from gateway.services.admission.passage import Passage

_STRANGER = Passage(key_id="", consumer="", proven="", identity=b"", limits=b"")
_CONNECT = CONNECT_PREFIX.decode()


class Handler:
    """Serves the data listener. `policies` returns those in force. `observe` is told of each
    request once it is over, whatever its outcome. `trace_flags` returns the flags of a new trace
    with this id; None: tracing is off."""

    def __init__(
        self,
        *,
        policies: Callable[[], Policies],
        gatekeeper: Gatekeeper,
        forwarder: Forwarder,
        readiness: health.Readiness,
        observe: Callable[[Handled], None],
        pull: Pull,
        services: Services,
        models: Models,
        tools: Tools,
        connect: Connect,
        trace_flags: Callable[[str], str] | None,
    ) -> None:
        self._trace_flags = trace_flags
        self._connect = connect
        self._models = models
        self._tools = tools
        self._pull = pull
        self._services = services
        self._policies = policies
        self._gatekeeper = gatekeeper
        self._forwarder = forwarder
        self._readiness = readiness
        self._observe = observe
        self._ids = Ids()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request; every denial ends here."""
        exchange.request_id = self._ids.request_id()
        if "/connect/" in exchange.message.path:
            # The path holds a token: reading the log must not give access, whatever its spelling.
            exchange.logged_path = _CONNECT
        if exchange.message.path.startswith("/tools/"):
            # MCP clients read refusals as JSON-RPC, also that of a head that cannot be read.
            exchange.tool_request = ToolRequest()
        try:
            await self._dispatch(exchange)
        except Denied as denied:
            drop_traceback(denied)
            exchange.note_refusal(denied)
            if exchange.started:
                exchange.abort()
                return
            if denied.close:
                exchange.close_after()
            exchange.reply(exchange.refusal(denied))
        except Exception:
            # `bug` answers the caller after this.
            exchange.code, exchange.status = Code.INTERNAL, 500
            raise
        finally:
            if not exchange.unrecorded:
                self._observe(exchange.handled())
            exchange.release_memory()

    def _dispatch(self, exchange: Exchange) -> Awaitable[None]:
        """Return the coroutine that answers at this path; raise Denied if the request's shape is
        refused."""
        # Not a coroutine itself, nor is `_send`: each one is entered again at every wake-up.
        head = self._read(exchange)
        exchange.user = head.user or ""
        if self._trace_flags is not None:
            exchange.trace = self._traced(head, self._trace_flags)
        path = head.target.path
        if path in HEALTH_PATHS:
            exchange.unrecorded = True
            return health.answer_health(exchange, head, self._readiness)
        if path.startswith(CONNECT_PREFIX):
            return self._connect.answer(exchange, head)
        policies = self._policies()
        # On a host of an agent every path belongs to that agent.
        if head.host not in policies.by_host:
            if path == CREDENTIALS_PATH:
                return self._pull.answer(exchange, head, policies)
            if path.startswith(MODELS_PREFIX):
                return self._ask_model(exchange, head, policies)
            if path.startswith(TOOLS_PREFIX):
                return self._ask_tool(exchange, head, policies)
        exchange.tool_request = None
        return self._forward(exchange, head, policies)

    def _read(self, exchange: Exchange) -> RequestHead:
        """Return the head of the request; raise Denied if its shape is refused."""
        try:
            head = exchange.read_head()
            if head.target.oddities:
                check_oddities(head, self._policies())
        except Denied:
            seen = exchange.method, exchange.target, exchange.message.raw_headers
            exchange.cors_fields = cors_of_unread(*seen, self._policies())
            raise
        return head

    def _traced(self, head: RequestHead, flags: Callable[[str], str]) -> Trace:
        trace_id, span_id = self._ids.trace()
        return caller_trace(head, span_id) or Trace(trace_id, span_id, "", flags(trace_id))

    async def _ask_model(self, exchange: Exchange, head: RequestHead, policies: Policies) -> None:
        located = await self._models.find(exchange, head, policies)
        if located is not None:
            await self._forward(exchange, head, policies, located)

    async def _ask_tool(self, exchange: Exchange, head: RequestHead, policies: Policies) -> None:
        located = await self._tools.find(exchange, head, policies)
        await self._forward(exchange, head, policies, located)

    async def _forward(
        self,
        exchange: Exchange,
        head: RequestHead,
        policies: Policies,
        located: Located | None = None,
    ) -> None:
        """Admit the request and send it on. `located`: where it goes, if that is known already."""
        fields = head.fields
        if b"origin" in fields:
            exchange.cors_fields = cors_fields(head, find_callee(head, policies)[0])
        upgrade = b"upgrade" in fields and asks_for_websocket(head)
        if located is None:
            located = locate(head, policies)
        callee = located.callee
        if callee is not None:
            exchange.agent = callee.place
            if exchange.cors_fields and is_preflight(head):
                exchange.reply(answer_preflight(callee, located.path))
                return
        if located.public:
            passage = _STRANGER
        else:
            address = exchange.address(head, policies)
            passage = await self._gatekeeper.admit(head, located, policies, address)
            exchange.note_admission(passage)
            if passage.lease is not None:
                exchange.on_release = partial(self._gatekeeper.release, passage)
        try:
            if callee is None:
                raise Denied(Code.NOT_FOUND)
            # No WebSocket to a service: its frames could not be searched for credentials.
            upgrade = upgrade and isinstance(callee, Agent)
            blocks, own = self._lines(exchange, head, callee, passage, policies)
            outgoing = Outgoing(callee, head, located, passage, blocks, own, upgrade)
            if exchange.body_arrived:
                await self._send(exchange, outgoing, policies)
            else:
                # A slow upload must not outlive the key that it was admitted with.
                with self._forwarder.inflight.stream(outgoing.standing(), exchange.cut_body):
                    await self._send(exchange, outgoing, policies)
        finally:
            exchange.release_lease()

    def _send(self, exchange: Exchange, outgoing: Outgoing, policies: Policies) -> Awaitable[None]:
        callee = outgoing.callee
        if isinstance(callee, Agent):
            return self._forwarder.forward(exchange, outgoing)
        if isinstance(callee, ToolServer):
            return self._tools.forward(exchange, outgoing, callee)
        if isinstance(callee, Model):
            return self._models.forward(exchange, outgoing, callee, policies)
        return self._services.forward(exchange, outgoing, callee, callee.inject)

    def _lines(
        self,
        exchange: Exchange,
        head: RequestHead,
        callee: Callee,
        passage: Passage,
        policies: Policies,
    ) -> tuple[tuple[bytes, ...], bytes]:
        """Return the gateway's own header lines: those for the agent and those for the caller."""
        named, trace = exchange.request_id.encode(), exchange.trace
        ids = self._ids.trace() if trace is None else (trace.trace_id, trace.span_id, trace.flags)
        blocks: tuple[bytes, ...] = (trace_block(head, *ids), b"X-Request-Id: %b\r\n" % named)
        if isinstance(callee, Agent):
            # Services are not told who the caller is.
            hop = exchange.client.hop
            forwarding = forwarding_block(head, hop, policies.trusted_proxies)
            blocks = (forwarding, passage.identity, *blocks)
        own = b"X-Request-Id: %b\r\nrequest-id: %b\r\n%b" % (named, named, passage.limits)
        if callee.cors is not None:
            own += cors_block(head, callee)
        return blocks, own

    def refuse(self, connection: ClientConnection, denied: Denied, received: bytes) -> None:
        """Answer a request whose head could not be read; the connection ends with the answer."""
        request_id = self._ids.request_id()
        method, target, headers = read_partial_head(received)
        page = cors_of_unread(method, target, headers, self._policies())
        reply = refusal(denied, request_id)
        if target.startswith(TOOLS_PREFIX):
            reply = rpc_refusal(denied, request_id, None)
        reply = replace(reply, headers=reply.headers + page)
        answer = encode(reply, keep_alive=False, with_body=method != "HEAD")
        connection.write(answer)
        self._observe(unreadable(request_id, denied, sent=len(answer), at=time()))

    def bug(self, connection: ClientConnection, error: BaseException) -> None:
        """Answer after an unexpected error: the caller learns the request id and nothing else.

        The log gets the error's type and places, never its message: it may quote the request.
        """
        exchange = connection.exchange
        request_id = exchange.request_id if exchange is not None else self._ids.request_id()
        _log_bug(error, request_id)
        if exchange is None or exchange.started:
            connection.abort()
            return
        exchange.close_after()
        try:
            exchange.reply(exchange.refusal(Denied(Code.INTERNAL)))
        except Exception as another:  # noqa: BLE001 (whatever it is, the caller must not wait)
            # Left open, the connection would count as busy for ever.
            _log_bug(another, request_id)
            connection.abort()


def _log_bug(error: BaseException, request_id: str) -> None:
    places = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
    log.error("internal", request_id=request_id, error=type(error).__name__, places=places[-6:])
