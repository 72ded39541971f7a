"""CORS: preflight requests of browsers, and the headers that let pages of other sites read answers.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from gateway.domain.policies.cors import Cors
from gateway.domain.policies.routes import methods_at
from gateway.domain.policies.snapshot import Agent, Callee
from gateway.protocol.http.header_names import CORS_REQUEST, KEY_HEADERS
from gateway.protocol.http.methods import METHODS
from gateway.protocol.http.reply import Reply
from gateway.protocol.http.request import RequestHead
from gateway.protocol.http.target import route_path

Fields = tuple[tuple[str, str], ...]

# The answer depends on the origin, so no cache may give one page's answer to another.
VARY: Fields = (("Vary", "Origin"),)

# A page that `cors` lists may always send a key, without these being listed too.
_KEY_HEADERS = ("Authorization", "X-API-Key", "api-key", "x-goog-api-key")
_NOBODY = Cors(frozenset())
_EXPOSED = ", ".join(
    (
        "X-Request-Id",
        "request-id",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
        "x-should-retry",
        "WWW-Authenticate",
    )
)


def cors_fields(head: RequestHead, callee: Callee | None) -> Fields:
    """Return the headers that let the page behind `head` read the answer; empty if it may not."""
    cors = callee.cors if callee is not None else None
    granted = cors.granted(head.fields.get(b"origin", b"")) if cors is not None else b""
    if cors is None or not granted:
        return ()
    allowing = ("Access-Control-Allow-Origin", granted.decode("ascii"))
    exposing = ("Access-Control-Expose-Headers", ", ".join((_EXPOSED, *cors.exposed)))
    if cors.credentials:
        return (allowing, ("Access-Control-Allow-Credentials", "true"), exposing, *VARY)
    return (allowing, exposing, *VARY)


def is_preflight(head: RequestHead) -> bool:
    return head.method == "OPTIONS" and head.fields.keys() >= CORS_REQUEST


def cors_block(head: RequestHead, callee: Callee) -> bytes:
    """Return the CORS header lines of an answer of `callee`, which has a `cors`; they replace those
    that `callee` sent."""
    fields = cors_fields(head, callee) or VARY
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")


def answer_preflight(callee: Callee, path: bytes) -> Reply:
    """Return the answer to a preflight of an allowed page: what it may send to `path` of `callee`.
    `cors_fields` are added by `Exchange.reply`."""
    cors = callee.cors or _NOBODY
    listed = [name for name in cors.headers if name.lower().encode() not in KEY_HEADERS]
    fields = [
        ("Access-Control-Allow-Headers", ", ".join((*_KEY_HEADERS, *listed))),
        ("Access-Control-Max-Age", str(int(cors.max_age))),
    ]
    if methods := _methods(callee, path):
        fields.append(("Access-Control-Allow-Methods", ", ".join(sorted(methods))))
    return Reply(204, tuple(fields), b"")


def _methods(callee: Callee, path: bytes) -> frozenset[str]:
    """Return the methods that the callee's routes have for this path."""
    routes = callee.routes if isinstance(callee, Agent) else None
    found = None if routes is None else methods_at(routes, route_path(path))
    return METHODS if found is None else found
