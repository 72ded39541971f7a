"""Header names by what the gateway does with them. All in lower case."""

from enum import Enum, auto
from functools import lru_cache

from gateway.domain.keys.limit_headers import DRAFT_NAMES, PLAIN_NAMES

# RFC 9110 section 7.6.1, and what older software sends; for one hop only.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    }
)

# Framing is decided by the gateway and written again, never copied.
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect", b"host"})

KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})

# Where the caller came from; believed only from trusted proxies.
FORWARDED_NAMES = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
)
SPOOFABLE = frozenset(
    {
        b"x-real-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"client-ip",
        b"proxy-client-ip",
        b"wl-proxy-client-ip",
        b"x-remote-ip",
        b"x-remote-addr",
        b"x-appengine-user-ip",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"fly-client-ip",
        b"x-forwarded",
        b"x-forward-for",
        b"forwarded-for",
        b"x-cluster-client-ip",
        b"x-originating-ip",
        b"x-proxyuser-ip",
        b"x-original-forwarded-for",
        b"x-envoy-external-address",
        b"x-envoy-original-path",
        b"x-envoy-original-host",
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"fastly-client-ip",
        b"x-original-url",
        b"x-original-uri",
        b"x-original-host",
        b"x-original-method",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-host",
        b"x-http-host-override",
        b"x-url-scheme",
        b"x-scheme",
        b"front-end-https",
        # CGI gives it to programs as HTTP_PROXY.
        b"proxy",
    }
)

# Set by the gateway alone, to tell the agent about the caller.
DROPPED_PREFIXES = (b"x-gateway-", b"x-forwarded-")
IDENTITY = frozenset({b"x-user-id", b"x-request-id", b"request-id", b"traceparent", b"tracestate"})

# Rate-limit headers: those of the IETF draft, and the widely used X-RateLimit ones.
DRAFT_LIMITS, PLAIN_LIMITS = (
    frozenset(name.lower().encode() for name in names) for names in (DRAFT_NAMES, PLAIN_NAMES)
)
# What a browser tells about the calling page; read, and passed on.
CORS_REQUEST = frozenset({b"origin", b"access-control-request-method"})

# Headers that the gateway reads; all others pass unseen.
LOOKED_AT = (
    HOP_BY_HOP
    | FRAMING
    | KEY_HEADERS
    | FORWARDED_NAMES
    | IDENTITY
    | CORS_REQUEST
    | {b"cookie", b"sec-websocket-protocol"}
)

# Of two, one reader would take the first and another the second. The same holds for keys.
ONLY_ONCE = FRAMING | {b"x-user-id"}

_ACTED_ON = (
    LOOKED_AT
    | SPOOFABLE
    | {b"sec-websocket-key", b"sec-websocket-version", b"content-type"}
    | {b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name"}
)


# Between the gateway and its upstream: neither policies nor credentials may set these.
_RESERVED = HOP_BY_HOP | FRAMING | {b"accept-encoding", b"x-request-id", b"traceparent"}


def is_reserved(name: str) -> bool:
    """Whether only the gateway may set a header of this name on the way out."""
    return name.lower().encode("utf-8", "replace") in _RESERVED


class Fate(Enum):
    """What is done with a caller's header."""

    PASSED = auto()
    READ = auto()
    READ_ONCE = auto()
    KEY = auto()
    DROPPED = auto()
    REFUSED = auto()


@lru_cache(maxsize=1024)
def fate(name: bytes) -> tuple[Fate, bytes]:
    """Return what is done with a header of this name, and the name in lower case."""
    lower = name.lower()
    if lower in KEY_HEADERS:
        return Fate.KEY, lower
    if lower in ONLY_ONCE:
        return Fate.READ_ONCE, lower
    if lower in LOOKED_AT:
        return Fate.READ, lower
    if lower in SPOOFABLE or lower.startswith(DROPPED_PREFIXES):
        return Fate.DROPPED, lower
    return (Fate.REFUSED if is_look_alike(lower) else Fate.PASSED), lower


def is_look_alike(lower: bytes) -> bool:
    """Whether another reader could take this name for one that the gateway acts on: CGI and WSGI
    turn `-` into `_`, some proxies turn `.` into `_`.
    """
    if b"_" not in lower and b"." not in lower:
        return False
    plain = lower.replace(b"_", b"-").replace(b".", b"-")
    return plain in _ACTED_ON or plain.startswith(DROPPED_PREFIXES)
