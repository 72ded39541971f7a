"""The head of an agent's answer, checked and turned into the one that the caller gets.

The C parser is lenient with responses (bare LF, odd headers). Answers that it accepts and that
another reader could take differently are refused here (RFC 9112 sections 5 and 6.3).
"""

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.framing import MOST_DIGITS
from gateway.protocol.http.header_names import DRAFT_LIMITS, HOP_BY_HOP, PLAIN_LIMITS
from gateway.protocol.http.request import NO_CONTROLS, VALUE_OF, Header

_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

REASONS = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n".encode()
    for status in range(101, 600)
}

# RFC 9110 sections 15.3.5 and 15.4.5: without a body, whatever their headers say.
BODILESS = frozenset({204, 304})


@dataclass(slots=True)
class AnswerHead:
    """`content_length` None: absent. `chunked`: by the agent. `limited`: `headers` has rate-limit
    headers of the agent; `encoded`: it has a Content-Encoding."""

    status: int
    headers: list[Header]
    content_length: int | None = None
    chunked: bool = False
    bodiless: bool = False
    limited: bool = False
    encoded: bool = False


def read_answer(
    status: int,
    raw_headers: tuple[Header, ...],
    *,
    method: str,
    drop_limits: bool,
    drop_cors: bool = False,
    drop_cookies: bool = False,
) -> AnswerHead:
    """Return the head of an answer; raise Denied(upstream_protocol) if it is ambiguous.

    `drop_limits`: the gateway sends rate-limit headers of its own, so the agent's would mislead.
    `drop_cors`: the gateway sends CORS headers of its own, and browsers fail on two.
    `drop_cookies`: a session opened with the gateway's credential does not belong to the caller.
    """
    if not 101 <= status <= 599:
        raise _bad_answer()
    headers: list[Header] = []
    head = AnswerHead(status, headers)
    connection = b""
    if b"".join(map(VALUE_OF, raw_headers)).translate(None, NO_CONTROLS):
        raise _bad_answer()
    for header in raw_headers:
        fate = _fate(header[0])
        if fate is _PASSED:
            headers.append(header)
        elif fate is _Fate.LENGTH:
            _read_length(head, header[1])
        elif fate is _Fate.CODING:
            _read_coding(head, header[1])
        elif fate is _Fate.CONNECTION:
            connection += b"," + header[1]
        elif fate is _Fate.REFUSED:
            raise _bad_answer()
        elif fate is _Fate.LIMITS and not drop_limits:
            headers.append(header)
            head.limited = True
        elif fate is _Fate.CONTENT_CODING:
            headers.append(header)
            head.encoded = True
        elif (fate is _Fate.CORS and not drop_cors) or (fate is _Fate.COOKIE and not drop_cookies):
            headers.append(header)
    if connection:
        tokens = {token.strip() for token in connection.lower().split(b",")}
        head.headers = [h for h in headers if h[0].lower() not in tokens]
    if head.chunked and head.content_length is not None:
        raise _bad_answer()
    head.bodiless = method == "HEAD" or status in BODILESS
    return head


def write_answer(head: AnswerHead, own: bytes, framing: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of the head, and of `body`, which is framed already. `own` and `framing` are
    whole lines, each ended by CRLF."""
    lines = b"\r\n".join(map(b": ".join, head.headers))
    end = b"\r\n" if lines else b""
    return b"".join((_STATUS_LINES[head.status], lines, end, own, framing, b"\r\n", body))


class _Fate(Enum):
    """What becomes of an agent's header."""

    PASSED = auto()
    LENGTH = auto()
    CODING = auto()
    CONTENT_CODING = auto()
    CONNECTION = auto()
    LIMITS = auto()
    CORS = auto()
    COOKIE = auto()
    DROPPED = auto()
    REFUSED = auto()


_PASSED = _Fate.PASSED
# Agents share an origin with the page where users enter their credentials. A service worker that an
# agent registers for the whole origin would see what is entered there, and reports of network
# errors that browsers send would name the page's one-time links.
_OF_THE_ORIGIN = {b"alt-svc", b"service-worker-allowed", b"nel", b"report-to"}
_OURS = {b"x-request-id", b"request-id"}
_FATES = dict.fromkeys(HOP_BY_HOP | _OURS | _OF_THE_ORIGIN, _Fate.DROPPED)
_FATES |= dict.fromkeys(DRAFT_LIMITS | PLAIN_LIMITS, _Fate.LIMITS)
_FATES |= {
    b"content-length": _Fate.LENGTH,
    b"transfer-encoding": _Fate.CODING,
    b"content-encoding": _Fate.CONTENT_CODING,
    b"connection": _Fate.CONNECTION,
    b"set-cookie": _Fate.COOKIE,
    b"set-cookie2": _Fate.COOKIE,
}


@lru_cache(maxsize=1024)
def _fate(name: bytes) -> _Fate:
    lower = name.lower()
    if not name or name.translate(None, _TOKEN):
        return _Fate.REFUSED
    return _FATES.get(lower, _Fate.CORS if lower.startswith(b"access-control-") else _PASSED)


def _read_coding(head: AnswerHead, value: bytes) -> None:
    if head.chunked or value.lower() != b"chunked":
        raise _bad_answer()
    head.chunked = True


def _read_length(head: AnswerHead, value: bytes) -> None:
    if head.content_length is not None or not value.isdigit() or len(value) > MOST_DIGITS:
        raise _bad_answer()
    head.content_length = int(value)


def _bad_answer() -> Denied:
    return Denied(Code.UPSTREAM_PROTOCOL)
