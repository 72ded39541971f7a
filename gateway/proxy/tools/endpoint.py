"""Requests to tool servers: one MCP message is read, admitted, and sent as it was read."""

from gateway.crypto.sessions import Owner
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Policies, ToolServer
from gateway.domain.policies.tools import Transport
from gateway.protocol import strict_json
from gateway.protocol.http.cors import cors_fields, is_preflight
from gateway.protocol.http.request import Header, RequestHead
from gateway.protocol.mcp import headers as mcp_headers
from gateway.protocol.mcp import message as mcp_message
from gateway.protocol.mcp import rpc, tasks
from gateway.protocol.mcp.rpc import ToolRequest
from gateway.proxy.exchange import Exchange
from gateway.proxy.large_bodies import LargeBodies
from gateway.proxy.services import Services
from gateway.proxy.tools.http_exchange import HttpMcpExchange
from gateway.proxy.tools.mcp_exchange import McpExchange, Tell
from gateway.proxy.tools.programs import ToolPrograms
from gateway.proxy.tools.task_ids import open_tasks
from gateway.proxy.uploads import Uploads
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.admission.admit import Gatekeeper, presented_token, whole_key
from gateway.services.admission.locate import Located, locate_tools
from gateway.services.credentials.current import lacking
from gateway.services.credentials.inject import Injector
from gateway.services.tools.sessions import ToolSessions

_NOT_PASSED = frozenset(
    {mcp_headers.SESSION, mcp_headers.LAST_EVENT, b"origin", b"content-type", b"content-encoding"}
)


class Tools:
    """Routes requests to tool servers, and forwards them."""

    def __init__(
        self,
        *,
        gatekeeper: Gatekeeper,
        injector: Injector,
        services: Services,
        programs: ToolPrograms,
        sessions: ToolSessions,
        tell: Tell,
        large: LargeBodies,
        uploads: Uploads,
    ) -> None:
        self._large = large
        self._uploads = uploads
        self._programs = programs
        self._tell = tell
        self._gatekeeper = gatekeeper
        self._injector = injector
        self._services = services
        self._sessions = sessions

    async def find(self, exchange: Exchange, head: RequestHead, policies: Policies) -> Located:
        """Return where the request goes. The key is checked before the body is waited for, and only
        a caller with a living key is told what is wrong with its message."""
        request = exchange.tool_request = exchange.tool_request or ToolRequest()
        name = mcp_message.server_name(head.target.path)
        server = policies.tools.get(name.decode("ascii")) if name is not None else None
        _check_origin(exchange, head, server)
        if server is None:
            return Located(None, b"", denied=Denied(Code.NOT_FOUND))
        if head.method not in mcp_message.METHODS or is_preflight(head):
            return locate_tools(server, head.method, None)
        if head.method == "POST" and not exchange.body_arrived:
            address = exchange.address(head, policies)
            caller = await self._gatekeeper.identify(head, policies, address)
            exchange.held = await self._uploads.read(exchange, head, caller, server.max_body)
        elif head.method == "POST":
            exchange.held = exchange.buffered_body()
        try:
            await self._read(request, exchange, head, server)
        except rpc.RpcDenied as denied:
            return locate_tools(server, head.method, None, denied)
        return locate_tools(server, head.method, request.rpc)

    async def _read(
        self, request: ToolRequest, exchange: Exchange, head: RequestHead, server: ToolServer
    ) -> None:
        """Read the message and its headers into `request`. A body that was received with the head
        is read whoever sent it: otherwise the answer would tell what is wrong with an invalid
        key."""
        fields = mcp_headers.read_fields(head.headers)
        request.version = fields.version
        body, exchange.held = exchange.held, None
        names_tasks = _may_name_tasks(server, body)
        if body is not None:
            size = len(body)
            if size > server.max_body:
                raise rpc.RpcDenied(Code.BODY_TOO_LARGE)
            read, request.weight = await self._large.run(exchange.key_id, size, _message, body)
            request.rpc, request.id = read, read.id
        mcp_headers.check_version(fields, request.id)
        if request.rpc is not None:
            mcp_headers.check_fields(fields, request.rpc)
        if names_tasks or fields.session or fields.last_event:
            owner = Owner(server.place, whole_key(presented_token(head)).id, head.user or "")
            await self._open(request, fields, owner)
            if request.rpc is not None and names_tasks:
                await open_tasks(request.rpc, self._sessions, owner)

    async def _open(self, request: ToolRequest, fields: mcp_headers.Fields, owner: Owner) -> None:
        """Unseal the session of the request, and the event to resume behind, into `request`; raise
        RpcDenied if they are not the caller's."""
        if sealed := fields.session:
            session = await self._sessions.open(sealed, owner)
            if session is None:
                raise mcp_message.no_session(request.id)
            request.session = session
        if sealed := fields.last_event:
            event = await self._sessions.open(sealed, owner.events)
            if event is None:
                raise mcp_message.no_event(request.id)
            request.last_event = event

    async def forward(self, exchange: Exchange, outgoing: Outgoing, server: ToolServer) -> None:
        """Send the message and answer. Raise Denied, with nothing sent, if a credential is missing,
        a hook refuses, or the use cannot be recorded."""
        request, user = exchange.tool_request, outgoing.head.user
        if request is None:
            raise Denied(Code.NOT_FOUND)
        inject = await self._injection(server, request, user)
        mcp = McpExchange(exchange, outgoing, server, request, self._tell, self._large)
        mcp.memory.take(request.weight)
        await mcp.prepare()
        if server.tools.transport is Transport.HTTP:
            over_http = HttpMcpExchange(mcp, self._sessions)
            outgoing.head.headers = _sent(outgoing.head, request, server.inject)
            await self._services.forward(exchange, outgoing, server, inject, mcp=over_http)
            return
        injected = await self._injector.values(server, inject, user)
        mcp.set_injected(injected)
        await self._services.record_use(exchange, outgoing, injected.newest, mcp.tool)
        await self._programs.serve(exchange, outgoing, mcp, injected)

    async def _injection(
        self, server: ToolServer, request: ToolRequest, user: str | None
    ) -> Inject:
        """Return what is injected; raise Denied if a needed credential is missing. A user without
        credentials may still list the tools."""
        inject = server.inject
        known = self._injector.cached(server, inject, user) is not None
        calls = request.rpc is not None and bool(request.rpc.tool)
        if calls and known:
            return inject
        is_command = server.tools.transport is Transport.COMMAND
        needed = inject if calls else inject.beside_calls(runs=not is_command)
        if needed.references:
            missing = None if known else await self._injector.missing(inject, user)
            if missing is not None:
                denied = lacking(missing)
                denied.decoy = str(missing) if self._injector.is_decoy(missing) else ""
                raise denied
            return inject
        if is_command or not (known or await self._has_all(inject, user)):
            return needed
        # None of it is sent, but values that earlier calls sent must not come back.
        return inject

    async def _has_all(self, inject: Inject, user: str | None) -> bool:
        unnamed = user is None and any(one.of_user for one in inject.references)
        return not unnamed and await self._injector.missing(inject, user) is None


def _message(body: bytes) -> tuple[rpc.Rpc, int]:
    """Return the message and its weight in memory: small JSON can take many times its size."""
    return rpc.read(body), strict_json.weight(body)


def _may_name_tasks(server: ToolServer, body: bytes | None) -> bool:
    """Whether the message may name tasks. Of servers over HTTP only: a program on this machine runs
    for one caller, who sees no task of another."""
    over_http = server.tools.transport is Transport.HTTP
    return over_http and body is not None and tasks.may_be_named_in(body)


def _check_origin(exchange: Exchange, head: RequestHead, server: ToolServer | None) -> None:
    """Raise Denied if the request comes from a page that is not allowed: this stops DNS rebinding
    before anything else is done."""
    origin = head.fields.get(b"origin")
    if origin is None:
        return
    exchange.cors_fields = cors_fields(head, server)
    if not exchange.cors_fields:
        raise Denied(Code.ORIGIN_DENIED)


def _sent(head: RequestHead, request: ToolRequest, inject: Inject) -> list[Header]:
    """Return the headers for the server: with its own ids of session and event, without those that
    are for the gateway or that repeat an injected argument."""
    headers = [header for header in head.headers if header[0].lower() not in _NOT_PASSED]
    if inject.arguments:
        repeated = mcp_headers.argument_headers(name for name, _ in inject.arguments)
        # To many servers an underscore in a header is a hyphen.
        headers = [h for h in headers if h[0].lower().replace(b"_", b"-") not in repeated]
    if request.session:
        headers.append((b"Mcp-Session-Id", request.session.encode("latin-1")))
    if request.last_event:
        headers.append((b"Last-Event-ID", request.last_event.encode("latin-1")))
    if request.rpc is not None:
        headers.append((b"Content-Type", b"application/json"))
    return headers
