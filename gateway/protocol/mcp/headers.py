"""The headers of MCP over HTTP: what they say, and that the message says the same."""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.domain.errors import Code
from gateway.domain.keys.key import masked
from gateway.protocol.http.request import Header
from gateway.protocol.mcp.message import HEADER_MISMATCH, STATELESS, UNSUPPORTED_VERSION, VERSIONS
from gateway.protocol.mcp.rpc import RequestId, Rpc, RpcDenied

SESSION = b"mcp-session-id"
LAST_EVENT = b"last-event-id"
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
