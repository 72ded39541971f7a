"""Requests to servers of tools: one MCP message is read, decided on, and sent as it was read."""

from gateway.crypto.sessions import Owner
from gateway.domain.credentials import CredentialId
from gateway.domain.errors import Code, Denied
from gateway.domain.policies.services import Inject
from gateway.domain.policies.snapshot import Policies, ToolServer
from gateway.domain.policies.tools import Transport
from gateway.protocol import strict_json
from gateway.protocol.http.cors import is_preflight, page_fields
from gateway.protocol.http.request import Header, RequestHead
from gateway.protocol.http.upstream_request import client_address
from gateway.protocol.mcp import message as mcp
from gateway.protocol.mcp import rpc, tasks
from gateway.protocol.mcp.rpc import Asked
from gateway.proxy.exchange import Exchange
from gateway.proxy.large import Large
from gateway.proxy.services import Services
from gateway.proxy.tools.errand import ToolErrand
from gateway.proxy.tools.programs import ToolPrograms
from gateway.proxy.tools.task import Tell, ToolTask
from gateway.proxy.tools.task_ids import open_tasks
from gateway.proxy.uploads import Uploads
from gateway.proxy.upstream.outgoing import Outgoing
from gateway.services.admission.admit import Gatekeeper, presented_token, whole_key
from gateway.services.admission.locate import Located, locate_tools
from gateway.services.credentials.inject import Injector
from gateway.services.tools.sessions import ToolSessions

_NOT_PASSED = frozenset(
    {mcp.SESSION, mcp.LAST_EVENT, b"origin", b"content-type", b"content-encoding"}
)


class Tools:
    """Finds what a request is for, and carries it there."""

    def __init__(
        self,
        *,
        gatekeeper: Gatekeeper,
        injector: Injector,
        services: Services,
        programs: ToolPrograms,
        sessions: ToolSessions,
        tell: Tell,
        large: Large,
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
        """Where the request goes. A caller is known before its body is waited for; what is wrong
        with the message is told only to one whose key lives."""
        asked = exchange.asked = exchange.asked or Asked()
        name = mcp.server_name(head.target.path)
        server = policies.tools.get(name.decode("ascii")) if name is not None else None
        _check_origin(exchange, head, server)
        if server is None:
            return Located(None, b"", denied=Denied(Code.NOT_FOUND))
        if head.method not in mcp.METHODS or is_preflight(head):
            return locate_tools(server, head.method, None)
        if head.method == "POST" and not exchange.body_arrived:
            address = client_address(head, exchange.client.hop.peer, policies.trusted_proxies)
            caller = await self._gatekeeper.recognise(head, policies, address)
            exchange.held = await self._uploads.read(exchange, head, caller, server.max_body)
        elif head.method == "POST":
            exchange.held = exchange.buffered_body()
        try:
            await self._read(asked, exchange, head, server)
        except rpc.RpcDenied as denied:
            return locate_tools(server, head.method, None, denied)
        return locate_tools(server, head.method, asked.rpc)

    async def _read(
        self, asked: Asked, exchange: Exchange, head: RequestHead, server: ToolServer
    ) -> None:
        """What came at once is read whoever it is from, or the answer would tell what is wrong with
        a key that is none."""
        fields = mcp.read_fields(head.headers)
        asked.version = fields.version
        body, exchange.held = exchange.held, None
        names_tasks = _may_name_tasks(server, body)
        if body is not None:
            size = len(body)
            if size > server.max_body:
                raise rpc.RpcDenied(Code.BODY_TOO_LARGE)
            read, asked.weight = await self._large.do(exchange.key_id, size, _message, body)
            asked.rpc, asked.id = read, read.id
        mcp.check_version(fields, asked.id)
        if asked.rpc is not None:
            mcp.check_fields(fields, asked.rpc)
        if names_tasks or fields.session or fields.last_event:
            owner = Owner(server.place, whole_key(presented_token(head)).id, head.user or "")
            await self._open(asked, fields, owner)
            if asked.rpc is not None and names_tasks:
                await open_tasks(asked.rpc, self._sessions, owner)

    async def _open(self, asked: Asked, fields: mcp.Fields, owner: Owner) -> None:
        """The session that the request is part of, and the event behind which it goes on; RpcDenied
        where they are not the caller's."""
        if sealed := fields.session:
            session = await self._sessions.open(sealed, owner)
            if session is None:
                raise mcp.no_session(asked.id)
            asked.session = session
        if sealed := fields.last_event:
            event = await self._sessions.open(sealed, owner.events)
            if event is None:
                raise mcp.no_event(asked.id)
            asked.last_event = event

    async def forward(self, exchange: Exchange, outgoing: Outgoing, server: ToolServer) -> None:
        """Denied where a credential is missing, a hook stands against it, or it cannot be recorded:
        then nothing is sent."""
        asked, user = exchange.asked, outgoing.head.user
        if asked is None:
            raise Denied(Code.NOT_FOUND)
        put_in = await self._put_in(server, asked, user)
        task = ToolTask(exchange, outgoing, server, asked, self._tell, self._large)
        task.holding.take(asked.weight)
        await task.prepare()
        errand = ToolErrand(task, self._sessions)
        if server.tools.transport is Transport.HTTP:
            outgoing.head.headers = _sent(outgoing.head, asked, server.inject)
            await self._services.forward(exchange, outgoing, server, put_in, errand=errand)
            return
        injected = await self._injector.values(server, put_in, user)
        errand.check(injected)
        await self._services.record(exchange, outgoing, injected.newest, errand)
        await self._programs.serve(exchange, outgoing, task, injected)

    async def _put_in(self, server: ToolServer, asked: Asked, user: str | None) -> Inject:
        """What goes with the message; Denied where a credential is missing that it needs. Whoever
        has brought none yet may see what there is to call."""
        inject = server.inject
        known = self._injector.kept(server, inject, user) is not None
        calls = asked.rpc is not None and bool(asked.rpc.tool)
        if calls and known:
            return inject
        is_command = server.tools.transport is Transport.COMMAND
        needed = inject if calls else inject.beside_calls(runs=not is_command)
        if needed.references:
            missing = None if known else await self._injector.missing(inject, user)
            if missing is not None:
                raise _missing(missing, decoy=self._injector.is_decoy(missing))
            return inject
        if is_command or not (known or await self._has_all(inject, user)):
            return needed
        # None of it is sent, but what was sent with a call before must not come back.
        return inject

    async def _has_all(self, inject: Inject, user: str | None) -> bool:
        unnamed = user is None and any(one.of_user for one in inject.references)
        return not unnamed and await self._injector.missing(inject, user) is None


def _message(body: bytes) -> tuple[rpc.Rpc, int]:
    """And what it weighs: dicts of a few bytes of text take many times as much."""
    return rpc.read(body), strict_json.weight(body)


def _may_name_tasks(server: ToolServer, body: bytes | None) -> bool:
    """Programs of this machine's own run for one caller each, who sees no task of another."""
    over_http = server.tools.transport is Transport.HTTP
    return over_http and body is not None and tasks.may_be_named_in(body)


def _check_origin(exchange: Exchange, head: RequestHead, server: ToolServer | None) -> None:
    """A page that was led here by its own name for this machine is stopped before all else."""
    origin = head.fields.get(b"origin")
    if origin is None:
        return
    exchange.page_fields = page_fields(head, server)
    if not exchange.page_fields:
        raise Denied(Code.ORIGIN_DENIED)


def _sent(head: RequestHead, asked: Asked, inject: Inject) -> list[Header]:
    """The headers for the server: with the session by its own name, and without what is between the
    caller and the gateway, or repeats an argument that is put in."""
    headers = [header for header in head.headers if header[0].lower() not in _NOT_PASSED]
    if inject.arguments:
        repeated = mcp.argument_headers(name for name, _ in inject.arguments)
        headers = [header for header in headers if _plain(header[0]) not in repeated]
    if asked.session:
        headers.append((b"Mcp-Session-Id", asked.session.encode("latin-1")))
    if asked.last_event:
        headers.append((b"Last-Event-ID", asked.last_event.encode("latin-1")))
    if asked.rpc is not None:
        headers.append((b"Content-Type", b"application/json"))
    return headers


def _plain(header: bytes) -> bytes:
    """To many servers an underscore in a header is a hyphen."""
    return header.lower().replace(b"_", b"-")


def _missing(name: CredentialId, *, decoy: bool) -> Denied:
    """A decoy looks like one that is not there."""
    whose = f" of user '{name.owner}'" if name.owner else ""
    return Denied(
        Code.CREDENTIAL_UNAVAILABLE,
        f"This needs the credential '{name.name}'{whose}, which is not there: have it added.",
        fields={"credential": str(name)},
        decoy=str(name) if decoy else "",
    )
