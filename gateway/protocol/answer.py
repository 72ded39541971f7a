"""An agent's answer head, checked and turned into the one the caller gets.

The C parser is lenient with responses (bare LF, odd headers), so what it lets through and another
reader could take differently is refused here (RFC 9112 sections 5 and 6.3).
"""

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from gateway.domain.errors import Code, Denied
from gateway.protocol.header_names import HOP_BY_HOP
from gateway.protocol.request import Header

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CONTROLS = bytes(set(range(0x20)) - {0x09}) + b"\x7f"
_NO_CONTROLS = bytes(set(range(256)) - set(_CONTROLS))

_OURS = frozenset({b"x-request-id", b"request-id"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_LOOKED_AT = HOP_BY_HOP | _FRAMING | _OURS | {b"alt-svc"}
_CORS = b"access-control-"
_LIMIT_HEADERS = frozenset(
    {
        b"ratelimit",
        b"ratelimit-policy",
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
    }
)

REASONS = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n".encode()
    for status in range(101, 600)
}


@dataclass(slots=True)
class AnswerHead:
    """`content_length` None: absent. `chunked`: so framed by the agent."""

    status: int
    headers: list[Header]
    content_length: int | None = None
    chunked: bool = False
    bodiless: bool = False


def read_answer(
    status: int,
    raw_headers: tuple[Header, ...],
    *,
    method: str,
    drop_limits: bool,
    drop_cors: bool = False,
) -> AnswerHead:
    """The facts of an answer; Denied(upstream_protocol) where it is ambiguous.

    `drop_limits`: the gateway sends its own rate-limit headers, so the agent's would mislead.
    `drop_cors`: it says itself which pages may read the answer, and browsers fail on two.
    """
    if not 101 <= status <= 599:
        raise _nonsense()
    headers: list[Header] = []
    head = AnswerHead(status, headers)
    connection = b""
    for header in raw_headers:
        name, value = header
        lower = name.lower()
        if value.translate(None, _NO_CONTROLS) or not _is_name(name):
            raise _nonsense()
        if lower in _LOOKED_AT:
            if lower in _FRAMING:
                _read_framing(head, lower, value)
            elif lower == b"connection":
                connection += b"," + value
        elif (drop_limits and lower in _LIMIT_HEADERS) or (drop_cors and lower.startswith(_CORS)):
            continue
        else:
            headers.append(header)
    if connection:
        tokens = {token.strip() for token in connection.lower().split(b",")}
        head.headers = [h for h in headers if h[0].lower() not in tokens]
    if head.chunked and head.content_length is not None:
        raise _nonsense()
    head.bodiless = method == "HEAD" or status in (204, 304)
    return head


def write_answer_head(head: AnswerHead, own: bytes, *, framing: bytes) -> bytes:
    """The status line and headers; `own` and `framing` are whole lines ended by CRLF."""
    parts = [_STATUS_LINES[head.status]]
    for name, value in head.headers:
        parts += (name, b": ", value, b"\r\n")
    parts += (own, framing, b"\r\n")
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _is_name(name: bytes) -> bool:
    return bool(name) and not name.translate(None, _TOKEN)


def _read_framing(head: AnswerHead, lower: bytes, value: bytes) -> None:
    if lower == b"transfer-encoding":
        if head.chunked or value.lower() != b"chunked":
            raise _nonsense()
        head.chunked = True
        return
    if head.content_length is not None or not value.isdigit() or len(value) > 18:
        raise _nonsense()
    head.content_length = int(value)


def _nonsense() -> Denied:
    return Denied(Code.UPSTREAM_PROTOCOL)
