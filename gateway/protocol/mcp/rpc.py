"""JSON-RPC as MCP uses it: one message, read strictly, and written again from what was read.

A message that two readers could take differently is refused: duplicate names, names that differ in
case alone, batches, NaN and Infinity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.errors import Code, Denied
from gateway.domain.facts import fact
from gateway.protocol import strict_json
from gateway.protocol.http.refusal import error_object
from gateway.protocol.http.refusal import refusal as plain_refusal
from gateway.protocol.http.reply import Reply
from gateway.protocol.strict_json import RepeatedNameError, TooManyValuesError, look_alike

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

LONGEST_NAME = 256

LOOKS_LIKE_ANOTHER = "A name in the message looks like another one's. Spell each as MCP does."
_NO_RPC = "The body is no JSON-RPC message. Send an object whose 'jsonrpc' is '2.0'."

# One JSON-RPC message: a JSON object.
Message = Mapping[str, Any]
RequestId = str | int | None

_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
# Members of `params` that decide what is done; readers that ignore case also find other spellings.
_PARAMS = frozenset({"name", "uri", "arguments", "_meta", "protocolversion"})
# The proper spelling of a member that _PARAMS has in lower case.
_FREE = frozenset({"protocolVersion"})


@dataclass(eq=False)
class RpcDenied(Denied):
    """A refusal of a message. `rpc_code`: the number of JSON-RPC or MCP for it; 0: none. `rpc_id`:
    of the request. `rpc_data`: further members of the error's `data`."""

    rpc_code: int = 0
    rpc_id: RequestId = None
    rpc_data: Mapping[str, Any] = field(default_factory=dict)


@fact
class Rpc:
    """One message of a caller. `method` empty: it is a response to a request of the server.
    `is_request`: it expects a response. `tool`: the tool that is called; empty: none is."""

    message: Message = field(repr=False)
    method: str
    id: RequestId
    is_request: bool
    params: Mapping[str, Any] = field(repr=False)
    tool: str = ""


@dataclass(slots=True)
class ToolRequest:
    """A request to a tool server, once its body has been read. `rpc`: the message of a POST, for as
    long as it is needed; `weight`: bytes of memory that it takes; `id`: the id of the message.
    `version`: of MCP, empty before one was agreed on. `session`: as the server knows it,
    `last_event` likewise; empty: none."""

    rpc: Rpc | None = None
    weight: int = 0
    id: RequestId = None
    version: str = ""
    session: str = ""
    last_event: str = ""


def read(body: bytes) -> Rpc:
    """Return the message in `body`; raise RpcDenied(bad_request) if it is not exactly one."""
    try:
        found = strict_json.read(body)
    except UnicodeDecodeError:
        raise _refused("The body is not UTF-8. Encode it so.", PARSE_ERROR) from None
    except RepeatedNameError:
        raise _refused("The body has an object with a name twice. Send each once.") from None
    except TooManyValuesError as problem:
        raise _refused(str(problem)) from None
    except ValueError:
        raise _refused("The body is not JSON. Send one JSON-RPC message.", PARSE_ERROR) from None
    if isinstance(found, list):
        raise _refused("Send one message a request: this version of MCP has no batches.")
    if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
        raise _refused(_NO_RPC)
    _check_spelling(found, _MEMBERS)
    return _sorted(found)


def _sorted(found: dict[str, Any]) -> Rpc:
    request_id = found.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | None):
        raise _refused("The id of a message is a string or a whole number.")
    if "method" not in found:
        if request_id is None or ("result" in found) == ("error" in found):
            raise _refused("The message has no 'method'. Send one, or a response to a request.")
        return Rpc(found, "", request_id, is_request=False, params={})
    method, params = found["method"], found.get("params", {})
    if not isinstance(method, str) or not method or "result" in found or "error" in found:
        reason = "The message is no request. Send a text as 'method', without a result or an error."
        raise _refused(reason, rpc_id=request_id)
    if "id" in found and request_id is None:
        raise _refused("The id of a request is not null.")
    if not isinstance(params, dict):
        raise _refused("The params of a message are an object.", INVALID_PARAMS, rpc_id=request_id)
    _check_spelling(params, _PARAMS, request_id)
    tool = _called(params, request_id) if method == "tools/call" else ""
    return Rpc(found, method, request_id, "id" in found, params, tool)


def _called(params: dict[str, Any], request_id: RequestId) -> str:
    name = params.get("name")
    if not isinstance(name, str) or not name:
        raise _refused("A call names its tool.", INVALID_PARAMS, rpc_id=request_id)
    if len(name) > LONGEST_NAME or not name.isprintable():
        # The name is written to the audit.
        reason = f"The name of a tool is at most {LONGEST_NAME} printable characters."
        raise _refused(reason, INVALID_PARAMS, rpc_id=request_id)
    if not isinstance(params.get("arguments", {}), dict):
        raise _refused("The arguments of a call are an object.", INVALID_PARAMS, rpc_id=request_id)
    return name


def _check_spelling(
    found: dict[str, Any], known: frozenset[str], request_id: RequestId = None
) -> None:
    """Raise RpcDenied if a name differs from a known one in case alone: some readers ignore case,
    also beyond ASCII."""
    if found.keys() <= known:
        return
    if look_alike(found.keys() - _FREE, known) is not None:
        raise _refused(LOOKS_LIKE_ANOTHER, rpc_id=request_id)


def response(rpc_id: RequestId, **members: Any) -> dict[str, Any]:
    """Return the response to the request of this id, with a `result` or an `error`."""
    return {"jsonrpc": "2.0", "id": rpc_id, **members}


def refusal(denied: Denied, request_id: str, rpc_id: RequestId) -> Reply:
    """Return the answer for `denied`: the status of any refusal, with a JSON-RPC error whose `data`
    holds the usual error object. Without an `rpc_code`, the error's code is the status."""
    reply = plain_refusal(denied, request_id)
    if isinstance(denied, RpcDenied) and rpc_id is None:
        rpc_id = denied.rpc_id
    body = strict_json.encode(response(rpc_id, error=rpc_error(denied, request_id)))
    return Reply(reply.status, reply.headers, body)


def rpc_error(denied: Denied, request_id: str) -> dict[str, Any]:
    """Return the `error` of a response."""
    code, data = denied.denial.status, {**error_object(denied), "request_id": request_id}
    if isinstance(denied, RpcDenied):
        code, data = denied.rpc_code or code, {**data, **denied.rpc_data}
    return {"code": code, "message": str(denied), "data": data}


def _refused(message: str, code: int = INVALID_REQUEST, rpc_id: RequestId = None) -> RpcDenied:
    return RpcDenied(Code.BAD_REQUEST, message, rpc_code=code, rpc_id=rpc_id)
