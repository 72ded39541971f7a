"""MCP messages: revisions, the scopes they need, and what a list of tools shows."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.scopes import ANY, SOME, Scope
from gateway.protocol.mcp.rpc import Message, RequestId, Rpc, RpcDenied

TOOLS_PREFIX = b"/tools/"
ENDPOINT = b"/mcp"
STATELESS = "2026-07-28"
LATEST_HANDSHAKE = "2025-11-25"
VERSIONS = ("2025-06-18", LATEST_HANDSHAKE, STATELESS)
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
METHODS = ("GET", "POST", "DELETE")
GREETING = "initialize"
_DISCOVERY = "server/discover"

_HANDSHAKES = tuple(version for version in VERSIONS if version != STATELESS)

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


def no_session(rpc_id: RequestId) -> RpcDenied:
    """Return the refusal of a session that is not the caller's."""
    reason = "There is no such session: begin a new one with 'initialize'."
    return RpcDenied(Code.NOT_FOUND, reason, rpc_id=rpc_id)


def no_event(rpc_id: RequestId) -> RpcDenied:
    """Return the refusal of an event that was not in a stream of the caller's."""
    reason = "There is no such event: make the call again, or listen without 'Last-Event-ID'."
    return RpcDenied(Code.NOT_FOUND, reason, rpc_id=rpc_id)
