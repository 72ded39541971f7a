"""MCP messages: revisions, headers, the scopes they need, and what a list of tools shows."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import masked
from gateway.domain.keys.scopes import ANY, SOME, Scope
from gateway.protocol.http.request import Header
from gateway.protocol.mcp.rpc import Message, RequestId, Rpc, RpcDenied

TOOLS_PREFIX = b"/tools/"
ENDPOINT = b"/mcp"
SESSION = b"mcp-session-id"
LAST_EVENT = b"last-event-id"
STATELESS = "2026-07-28"
LATEST_HANDSHAKE = "2025-11-25"
VERSIONS = ("2025-06-18", LATEST_HANDSHAKE, STATELESS)
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
METHODS = ("GET", "POST", "DELETE")
GREETING = "initialize"
_DISCOVERY = "server/discover"

_HANDSHAKES = tuple(version for version in VERSIONS if version != STATELESS)

# A header with this prefix repeats an argument of the call.
_PARAM = "mcp-param-"

# The headers that are read, each with its name in `Fields`.
_FIELDS = {
    b"mcp-protocol-version": "version",
    SESSION: "session",
    LAST_EVENT: "last_event",
    b"mcp-method": "method",
    b"mcp-name": "name",
}
_META_VERSION = "io.modelcontextprotocol/protocolVersion"
# The parameter that the header Mcp-Name repeats, by method.
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")
# Methods that tell a caller no more than that the server is there and which tools it may call.
_OPEN = frozenset({GREETING, "ping", _DISCOVERY, "tools/list", "logging/setLevel"})
_TOOLS_CHANGED = frozenset({"toolsListChanged"})
# The HTTP status of an error in the stateless revision, by its code; 200 for other codes.
_STATUS = {
    -32700: 400,
    -32600: 400,
    -32601: 404,
    -32602: 400,
    HEADER_MISMATCH: 400,
    -32021: 400,
    UNSUPPORTED_VERSION: 400,
}


def server_name(path: bytes) -> bytes | None:
    """Return the server's name in `/tools/<name>/mcp`, with or without a trailing slash; None for
    other paths."""
    path = path.removesuffix(b"/")
    if not (path.startswith(TOOLS_PREFIX) and path.endswith(ENDPOINT)):
        return None
    name = path[len(TOOLS_PREFIX) : -len(ENDPOINT)]
    return name if name and b"/" not in name else None


@dataclass(frozen=True, slots=True)
class Fields:
    """The MCP headers of a request; empty: absent. `last_event`: the event behind which a stream is
    to be resumed."""

    version: str = ""
    session: str = ""
    last_event: str = ""
    method: str = ""
    name: str = ""


def read_fields(headers: Iterable[Header]) -> Fields:
    """Return the MCP headers; raise RpcDenied(bad_request) if one is there twice."""
    found: dict[str, str] = {}
    for header, value in headers:
        name = _FIELDS.get(header.lower())
        if name is None:
            continue
        if name in found:
            reason = f"The header {header.lower().decode('ascii')!r} is there twice. Send it once."
            raise RpcDenied(Code.BAD_REQUEST, reason, rpc_code=HEADER_MISMATCH)
        found[name] = value.decode("latin-1").strip()
    return Fields(**found)


def check_version(fields: Fields, rpc_id: RequestId) -> None:
    """Raise RpcDenied(bad_request, -32022) if the caller speaks a revision that is not served. The
    error lists those that are, and clients retry with one of them."""
    version = fields.version
    if version and version not in VERSIONS:
        raise RpcDenied(
            Code.BAD_REQUEST,
            f"This revision of MCP is not supported: use one of {', '.join(VERSIONS)}.",
            rpc_code=UNSUPPORTED_VERSION,
            rpc_id=rpc_id,
            rpc_data={"supported": list(reversed(VERSIONS)), "requested": masked(version)},
        )


def negotiated(version: str) -> str:
    """Return the newest revision with a handshake that is served and not newer than `version`
    (revisions are dates), or the oldest one: it also suits callers of older revisions."""
    return max((one for one in _HANDSHAKES if one <= version), default=_HANDSHAKES[0])


def to_server(rpc: Rpc) -> Message:
    """Return the message as the server gets it. An `initialize` for a revision that is not served
    here asks for one that is: otherwise caller and server could agree on one that the gateway
    refuses."""
    wanted = rpc.params.get("protocolVersion")
    if rpc.method != GREETING or not isinstance(wanted, str):
        return rpc.message
    return {**rpc.message, "params": {**rpc.params, "protocolVersion": negotiated(wanted)}}


def check_initialized(response: Message) -> None:
    """Raise Denied(upstream_protocol) if a server answers `initialize` with a revision that is not
    served here."""
    result = response.get("result")
    if isinstance(result, dict) and result.get("protocolVersion") not in _HANDSHAKES:
        raise Denied(
            Code.UPSTREAM_PROTOCOL,
            "The server speaks a revision of MCP that is not served here: it has to speak one of "
            f"{', '.join(_HANDSHAKES)}.",
        )


def http_status(response: Message, method: str, version: str) -> int:
    """Return the HTTP status for a program's response to `method`.

    An answer to `server/discover` is always 200: a program that does not know the method speaks
    older revisions, and callers take a 404 with a JSON-RPC error for a sign of the stateless one.
    """
    error = response.get("error")
    if version != STATELESS or method == _DISCOVERY or not isinstance(error, dict):
        return 200
    code = error.get("code")
    return _STATUS.get(code, 200) if isinstance(code, int) else 200


def check_fields(fields: Fields, rpc: Rpc) -> None:
    """Raise RpcDenied(bad_request, -32020) if the headers contradict the body: the body is what is
    decided on."""
    version = fields.version
    meta = rpc.params.get("_meta")
    in_body = meta.get(_META_VERSION) if isinstance(meta, dict) else None
    if in_body is not None and in_body != version:
        raise _mismatch("MCP-Protocol-Version", rpc)
    # Callers of older revisions need not send these headers, but if they do they have to be right.
    needed = version == STATELESS and rpc.is_request
    if needed and in_body is None:
        raise _mismatch("MCP-Protocol-Version", rpc)
    if (fields.method or needed) and fields.method != rpc.method:
        raise _mismatch("Mcp-Method", rpc)
    name, member = fields.name, _NAMED.get(rpc.method, "")
    meant = rpc.params.get(member) if member else None
    if (name or (needed and meant is not None)) and _decoded(name) != meant:
        raise _mismatch("Mcp-Name", rpc)


def argument_headers(names: Iterable[str]) -> frozenset[bytes]:
    """Return the names of headers that repeat these arguments, in lower case and with hyphens."""
    return frozenset((_PARAM + name.casefold()).replace("_", "-").encode() for name in names)


def scope_of(server: str, rpc: Rpc | None) -> Scope:
    """Return the scope that a message to `server` needs. `rpc` None: no message is sent, the caller
    listens to the server."""
    if rpc is None or not rpc.method or rpc.method.startswith("notifications/"):
        return Scope("tools", server, SOME)
    if rpc.method == "tools/call":
        return Scope("tools", server, rpc.tool)
    if rpc.method in _OPEN or (
        rpc.method == "subscriptions/listen" and _subscribes_to_tools_only(rpc)
    ):
        return Scope("tools", server, SOME)
    # Prompts, resources and future methods are no tools: they need the scope for the whole server.
    return Scope("tools", server, ANY)


def _subscribes_to_tools_only(rpc: Rpc) -> bool:
    """Whether the only subscription is to changes of the list of tools."""
    wanted = rpc.params.get("notifications")
    return isinstance(wanted, dict) and wanted.keys() <= _TOOLS_CHANGED


def shown_tools(
    result: Mapping[str, Any], may_see: Callable[[str], bool], hidden: frozenset[str]
) -> dict[str, Any]:
    """Return the result of `tools/list` with only the tools that the caller may call, and without
    arguments that the gateway injects. It is private to this caller, whatever the server says about
    caching."""
    tools = [_without(tool, hidden) for tool in result["tools"] if _is_shown(tool, may_see)]
    scope = {"cacheScope": "private"} if "cacheScope" in result else {}
    return {**result, "tools": tools, **scope}


def _is_shown(tool: Any, may_see: Callable[[str], bool]) -> bool:
    name = tool.get("name") if isinstance(tool, dict) else None
    return isinstance(name, str) and may_see(name)


def _without(tool: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    schema = tool.get("inputSchema")
    if not hidden or not isinstance(schema, dict):
        return tool
    schema = dict(schema)
    if isinstance(schema.get("properties"), dict):
        fields = schema["properties"].items()
        schema["properties"] = {name: field for name, field in fields if name not in hidden}
    if isinstance(schema.get("required"), list):
        schema["required"] = [name for name in schema["required"] if name not in hidden]
    return {**tool, "inputSchema": schema}


def with_arguments(message: Message, arguments: Mapping[str, Any]) -> Message:
    """Return the call with `arguments` in place of those that the caller sent."""
    return {**message, "params": {**message["params"], "arguments": arguments}}


def _decoded(value: str) -> str | None:
    """Return a header's value, decoded if it is in base64 because a header could not hold it as it
    is; None if it is malformed."""
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    try:
        found = base64.b64decode(match[1], validate=True)
        text = found.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if base64.b64encode(found).decode("ascii") == match[1] else None


def _mismatch(header: str, rpc: Rpc) -> RpcDenied:
    return RpcDenied(
        Code.BAD_REQUEST,
        f"The header {header} does not say what the body says. Send the same in both.",
        rpc_code=HEADER_MISMATCH,
        rpc_id=rpc.id,
    )


def no_session(rpc_id: RequestId) -> RpcDenied:
    """Return the refusal of a session that is not the caller's."""
    reason = "There is no such session: begin a new one with 'initialize'."
    return RpcDenied(Code.NOT_FOUND, reason, rpc_id=rpc_id)


def no_event(rpc_id: RequestId) -> RpcDenied:
    """Return the refusal of an event that was not in a stream of the caller's."""
    reason = "There is no such event: make the call again, or listen without 'Last-Event-ID'."
    return RpcDenied(Code.NOT_FOUND, reason, rpc_id=rpc_id)
