"""A caller's request head, sorted once into what the gateway acts on and what it passes on.

Pure functions: no sockets, no key records, no policies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from urllib.parse import unquote_to_bytes

from gateway.domain.errors import bad_request
from gateway.domain.keys.key import contains_key
from gateway.domain.keys.record import is_user_id
from gateway.protocol.cookies import of_others
from gateway.protocol.http.authority import parse_host
from gateway.protocol.http.framing import MOST_DIGITS
from gateway.protocol.http.header_names import CORS_REQUEST, Fate, fate
from gateway.protocol.http.methods import check_method
from gateway.protocol.http.target import Target, parse_target

BEARER = b"bearer "
KEY_MARK = b"agk_"
SUBPROTOCOL = b"agk"
LOOKS_LIKE_ANOTHER = "A header's name looks like another one's: use '-' in names."
AMBIGUOUS_BODY = (
    "The body's framing is ambiguous. Send one Content-Length, or else 'chunked' alone."
)
# Two different keys are refused already, so no more are collected: a head has room for thousands.
SEVERAL = 2
_PASSED = Fate.PASSED

Header = tuple[bytes, bytes]

# NUL, CR, LF and other controls would let one header become two for a laxer reader.
_CONTROLS = bytes(set(range(0x20)) - {0x09}) + b"\x7f"
VALUE_OF = itemgetter(1)
NO_CONTROLS = bytes(set(range(256)) - set(_CONTROLS))


@dataclass(slots=True)
class RequestHead:
    """The head of a request. Heads of one connection may share `headers`, `fields` and the other
    collections: replace these, never change them.

    `headers`: those that are passed on, in order and byte for byte. `fields`: those that the
    gateway reads, by lower-case name. `keys`: distinct candidates for a key, at most SEVERAL;
    `other_credential`: a place for keys held something that is no candidate. `host`: lower case,
    without port. `content_length` None: absent.
    """

    method: str
    target: Target
    http10: bool = False
    headers: list[Header] = field(default_factory=list, repr=False)
    fields: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    host: str = ""
    authority: bytes = b""
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    other_credential: bool = False
    subprotocols: Sequence[bytes] = field(default=(), repr=False)
    user: str | None = None
    content_length: int | None = None
    chunked: bool = False

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    @property
    def offers_key_subprotocol(self) -> bool:
        return SUBPROTOCOL in self.subprotocols


def read_head(
    method: str, raw_target: bytes, raw_headers: tuple[Header, ...], *, http10: bool = False
) -> RequestHead:
    """Return the head of a request; raise Denied if its shape is refused."""
    check_method(method)
    head = RequestHead(method, parse_target(raw_target), http10)
    _sort(head, raw_headers)
    fields = head.fields
    if fields:
        _read_host(head)
        if b"connection" in fields:
            _drop_nominated(head, fields[b"connection"])
        if b"content-length" in fields:
            head.content_length = read_length(fields.pop(b"content-length"))
        if b"transfer-encoding" in fields:
            _read_coding(head, fields[b"transfer-encoding"])
        if b"x-user-id" in fields:
            head.user = _read_user(fields[b"x-user-id"])
        if b"sec-websocket-protocol" in fields:
            _read_subprotocols(head, fields[b"sec-websocket-protocol"])
        if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
            raise bad_request("The only expectation understood is 'Expect: 100-continue'.")
    return head


def values_of(headers: Iterable[Header], wanted: bytes) -> list[bytes]:
    """Return the values of all headers with the name `wanted`, which is in lower case."""
    return [value for name, value in headers if name.lower() == wanted]


def read_partial_head(received: bytes) -> tuple[str, bytes, tuple[Header, ...]]:
    """Return method, target and headers of a head that is refused or incomplete, as far as they can
    be seen: good enough for its answer, and for no decision."""
    line, *lines = received.lstrip(b"\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, _, rest = line.partition(b" ")
    pairs = (one.partition(b":") for one in lines)
    headers = tuple((name, value.strip(b" \t")) for name, colon, value in pairs if colon)
    return method.decode("latin-1"), rest.partition(b" ")[0], headers


def media_type(headers: Iterable[Header]) -> bytes:
    """Return the Content-Type without parameters; empty if there is not exactly one."""
    found = values_of(headers, b"content-type")
    return found[0].partition(b";")[0].strip().lower() if len(found) == 1 else b""


def _sort(head: RequestHead, raw_headers: tuple[Header, ...]) -> None:
    """Pass once over the headers: keep, read, drop or refuse each."""
    if b"".join(map(VALUE_OF, raw_headers)).translate(None, NO_CONTROLS):
        raise bad_request("A header's value holds a control character. Leave it out.")
    for header in raw_headers:
        found, lower = fate(header[0])
        if found is _PASSED:
            head.headers.append(header)
        elif found is Fate.READ_ONCE:
            _only_once(head, lower)
            head.fields[lower] = header[1]
        elif found is Fate.KEY:
            _only_once(head, lower)
            head.fields[lower] = b""
            _read_credential(head, lower, header[1])
        elif found is Fate.READ:
            _read_repeatable(head, lower, header[1], header)
        elif found is Fate.REFUSED:
            raise bad_request(LOOKS_LIKE_ANOTHER)


def _only_once(head: RequestHead, lower: bytes) -> None:
    if lower in head.fields:
        raise bad_request(f"The header {lower.decode('ascii')!r} is there twice. Send it once.")


def _read_repeatable(head: RequestHead, lower: bytes, value: bytes, header: Header) -> None:
    fields, between = head.fields, b", "
    if lower == b"cookie":
        between = b"; "
        _pass_on_cookies(head, header)
    before = fields.get(lower)
    fields[lower] = value if before is None else before + between + value
    if lower in CORS_REQUEST:
        head.headers.append(header)


def _pass_on_cookies(head: RequestHead, header: Header) -> None:
    name, value = header
    if _holds_key(value):
        raise bad_request("A key is never sent in a cookie, but as 'Authorization: Bearer <key>'.")
    passed = of_others(value)
    if passed:
        head.headers.append((name, passed))


def _holds_key(cookie: bytes) -> bool:
    # Scripts in browsers percent-encode the values of cookies.
    return (KEY_MARK in cookie or b"%" in cookie) and contains_key(
        unquote_to_bytes(cookie).decode("latin-1")
    )


def _read_credential(head: RequestHead, lower: bytes, value: bytes) -> None:
    candidate = value
    if lower == b"authorization":
        is_bearer = value[: len(BEARER)].lower() == BEARER
        candidate = value[len(BEARER) :].lstrip(b" ") if is_bearer else b""
    _take_credential(head, candidate)


def _take_credential(head: RequestHead, candidate: bytes) -> None:
    if not candidate.startswith(KEY_MARK):
        head.other_credential = True
    elif len(head.keys) < SEVERAL and candidate not in head.keys:
        head.keys += (candidate,)


def _read_host(head: RequestHead) -> None:
    value = head.fields.get(b"host")
    if value is None:
        return
    host = parse_host(value)
    if host is None:
        raise bad_request("The Host header is not a host name with an optional port.")
    head.host, head.authority = host, value


def _drop_nominated(head: RequestHead, connection: bytes) -> None:
    """Drop the headers that Connection names: they are for this hop only (RFC 9110 section 7.6.1).

    The gateway adds its own headers later, so none of those can be named away.
    """
    tokens = {token.strip() for token in connection.lower().split(b",")}
    tokens -= {b"", b"close", b"keep-alive", b"upgrade"}
    if tokens:
        head.headers = [h for h in head.headers if h[0].lower() not in tokens]


def read_length(value: bytes) -> int:
    """Return the value of Content-Length; raise Denied if it is none."""
    # RFC 9110 section 8.6: digits only; int() would take signs, blanks and underscores.
    if not value.isdigit() or len(value) > MOST_DIGITS:
        raise bad_request("Content-Length is not a number of bytes.")
    return int(value)


def _read_coding(head: RequestHead, value: bytes) -> None:
    # RFC 9112 section 6.1: both framings at once, or a coding other than chunked, is an attack or a
    # bug.
    if value.lower() != b"chunked" or head.content_length is not None or head.http10:
        raise bad_request(AMBIGUOUS_BODY)
    head.chunked = True


def _read_user(value: bytes) -> str:
    user = value.decode("latin-1")
    if not is_user_id(user):
        raise bad_request("X-User-Id holds 1 to 128 of the characters A-Z a-z 0-9 . _ @ and -.")
    return user


def _read_subprotocols(head: RequestHead, value: bytes) -> None:
    """Read the offered subprotocols. `agk` and `agk.<key>` are not passed on to agents."""
    items = [item.strip(b" \t") for item in value.split(b",")]
    prefix = SUBPROTOCOL + b"."
    for item in items:
        if item.startswith(prefix):
            candidate = item[len(prefix) :]
            _take_credential(head, candidate if b"upgrade" in head.fields else b"")
    head.subprotocols = items
    ours = (SUBPROTOCOL, b"")
    rest = [i for i in items if i not in ours and not i.startswith(prefix) and KEY_MARK not in i]
    if rest:
        head.headers.append((b"Sec-WebSocket-Protocol", b", ".join(rest)))
