"""The request head as it is sent to an agent."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from gateway.domain.policies.snapshot import Network
from gateway.domain.traffic import Trace
from gateway.protocol.http.request import Header, RequestHead

WEBSOCKET = b"websocket"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % WEBSOCKET

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
# Some balancers write the port too; an IPv6 address stands in brackets then.
_WITH_PORT = re.compile(r"\[(?P<six>[^]]*)\](:\d+)?|(?P<four>[^:]*):\d+")
# RFC 9110 section 5.6.4: quoted strings, and what stands between them.
_QUOTES_CLOSED = re.compile(rb'[^"]*+(?:"(?:[^"\\]|\\.)*+"[^"]*+)*+')
# A `%` that would read as an escape is escaped too, so that no two values look alike.
_UNSAFE = re.compile(r"[^\x20-\x7e]|%(?=[0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Hop:
    """The connection that a request came in on. `scheme`: `http` or `https`."""

    peer: str
    scheme: str = "http"


def identity_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return the `X-Gateway-…` lines. People write the records, so values are escaped: none may
    break a line."""
    lines = (f"{name}: {_UNSAFE.sub(_escaped, value)}\r\n" for name, value in fields)
    return "".join(lines).encode("ascii")


def write_head(
    method: str, path: bytes, authority: bytes, headers: Sequence[Header], *blocks: bytes
) -> bytes:
    """Return the bytes of request line and headers, with the empty line.

    `blocks`: whole header lines of the gateway's own, each ended by CRLF. They come last, so that
    nothing that a caller sent stands after them.
    """
    lines = b"\r\n".join(map(b": ".join, headers))
    end = b"\r\n" if lines else b""
    begin = b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (method.encode(), path, authority)
    return b"".join((begin, lines, end, *blocks, b"\r\n"))


def framing_line(length: int | None, *, chunked: bool) -> bytes:
    """Return the header line that tells where the body ends; `length` None: there is no body."""
    if chunked:
        return b"Transfer-Encoding: chunked\r\n"
    return b"" if length is None else b"Content-Length: %d\r\n" % length


def forwarding_block(head: RequestHead, hop: Hop, trusted: tuple[Network, ...]) -> bytes:
    """Return the forwarding headers. Those that were received are appended to if a trusted proxy
    sent them, and replaced otherwise."""
    if not (trusted and is_trusted(hop.peer, trusted)):
        return _own_block(hop.peer, hop.scheme, head.authority)
    fields = head.fields
    return _forwarding_lines(
        _appended(fields, b"x-forwarded-for", hop.peer.encode()),
        _appended(fields, b"x-forwarded-proto", hop.scheme.encode()),
        _appended(fields, b"x-forwarded-host", head.authority),
        _appended(_closed(fields), b"forwarded", _element(hop.peer, hop.scheme, head.authority)),
    )


@lru_cache(maxsize=1024)
def _own_block(peer: str, scheme: str, host: bytes) -> bytes:
    """Return the forwarding headers of a direct caller. Cached, since all requests on a connection
    have the same."""
    return _forwarding_lines(peer.encode(), scheme.encode(), host, _element(peer, scheme, host))


def _element(peer: str, scheme: str, host: bytes) -> bytes:
    """Return an element of Forwarded: an IPv6 address is in brackets and quotes (RFC 7239,
    section 4)."""
    node = f'"[{peer}]"' if ":" in peer else peer
    element = f"for={node};proto={scheme}".encode()
    return element + b';host="' + host + b'"' if host else element


def _forwarding_lines(chain: bytes, scheme: bytes, host: bytes, elements: bytes) -> bytes:
    lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nForwarded: %b\r\n"
    block = lines % (chain, scheme, elements)
    return block + b"X-Forwarded-Host: " + host + b"\r\n" if host else block


def _closed(fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """Return the fields without a Forwarded that ends within a quoted string: the gateway's own
    element would be part of that string. Many proxies pass a caller's on as it is."""
    closed = _QUOTES_CLOSED.fullmatch(fields.get(b"forwarded", b""))
    return fields if closed else {**fields, b"forwarded": b""}


def _appended(fields: Mapping[bytes, bytes], name: bytes, own: bytes) -> bytes:
    before = fields.get(name, b"")
    return before + b", " + own if before and own else before or own


def client_address(head: RequestHead, peer: str, trusted: tuple[Network, ...]) -> str:
    """Return the caller's address: the right-most one that is no trusted proxy's."""
    if not trusted or not is_trusted(peer, trusted):
        return peer
    chain = head.fields.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    for item in reversed(chain):
        address = _without_port(item.strip())
        if not _is_address(address):
            break
        peer = address
        if not is_trusted(address, trusted):
            break
    return peer


def is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    if not _is_address(address):
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in trusted)


def trace_block(head: RequestHead, trace_id: str, span_id: str, flags: str = "01") -> bytes:
    """Return the W3C trace context lines: a caller's well-formed trace is continued, else a new one
    begins."""
    match = _traced(head)
    if match is None:
        return f"traceparent: 00-{trace_id}-{span_id}-{flags}\r\n".encode()
    block = b"traceparent: 00-%b-%b-%b\r\n" % (match[1], span_id.encode(), match[3])
    if b"tracestate" in head.fields:
        block += b"tracestate: " + head.fields[b"tracestate"] + b"\r\n"
    return block


def caller_trace(head: RequestHead, span_id: str) -> Trace | None:
    """Return the caller's trace, continued with `span_id`; None if it sent none."""
    match = _traced(head)
    if match is None:
        return None
    return Trace(match[1].decode(), span_id, match[2].decode(), match[3].decode())


def _traced(head: RequestHead) -> re.Match[bytes] | None:
    if b"traceparent" not in head.fields:
        return None
    match = _TRACEPARENT.fullmatch(head.fields[b"traceparent"])
    if match is None or not match[1].strip(b"0") or not match[2].strip(b"0"):
        return None
    return match


def _without_port(text: str) -> str:
    match = _WITH_PORT.fullmatch(text)
    return text if match is None else match["six"] or match["four"] or ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))
