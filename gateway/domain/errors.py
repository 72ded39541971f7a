"""Every way a request can be refused: one table, one exception.

`DENIALS` is the only place for codes, statuses and public sentences. Whoever answers a caller (over
HTTP, JSON-RPC or problem+json) renders a `Denied` and adds nothing to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from gateway.domain.keys.key import masked


class GatewayError(Exception):
    """Base of all errors that this package raises on purpose; `str()` is one public sentence. A key
    that somebody sent in place of a name is shown without its secret."""

    def __str__(self) -> str:
        return masked(super().__str__())


def drop_traceback(error: BaseException | None) -> None:
    """Drop the tracebacks of `error` and its causes once it has been handled. The frames of a
    traceback can refer back to the error, and to request bodies held in memory, which would then
    live until the garbage collector runs."""
    # An error that is raised again while its own cause is handled forms a cycle.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class UsageError(GatewayError):
    """The operator's request makes no sense (exit code 2). `about`: the part of it that is wrong;
    empty: the request as a whole."""

    def __init__(self, sentence: str, about: str = "") -> None:
        super().__init__(sentence)
        self.about = about


class OperationError(GatewayError):
    """The operator's request was understood, and was refused or failed (exit code 1)."""


class MissingError(OperationError):
    """The named thing does not exist."""


class ChangedError(OperationError):
    """Somebody else changed it at the same time, so nothing was done."""


class StoreError(GatewayError):
    """Redis could not answer, or its answer made no sense."""


class AuditError(StoreError):
    """An act could not be recorded, so it was not done."""


class UnreachableError(StoreError):
    """No answer came from Redis at all."""


class Code(StrEnum):
    KEY_MISSING = "key_missing"
    KEY_INVALID = "key_invalid"
    KEY_EXPIRED = "key_expired"
    KEY_REVOKED = "key_revoked"
    KEY_DISABLED = "key_disabled"
    SCOPE_DENIED = "scope_denied"
    USER_DENIED = "user_denied"
    ORIGIN_DENIED = "origin_denied"
    HOOK_REFUSED = "hook_refused"
    NOT_FOUND = "not_found"
    KEY_MISCONFIGURED = "key_misconfigured"
    BAD_REQUEST = "bad_request"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    URL_TOO_LONG = "url_too_long"
    HEAD_TOO_LARGE = "head_too_large"
    RATE_LIMITED = "rate_limited"
    CONCURRENCY_LIMITED = "concurrency_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    BUSY = "busy"
    STORE_UNAVAILABLE = "store_unavailable"
    CREDENTIAL_UNAVAILABLE = "credential_unavailable"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    UPSTREAM_AUTH_FAILED = "upstream_auth_failed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Denial:
    """One row of the table.

    `name` is the code that the caller sees. `retry`: whether repeating the same request within 60 s
    can succeed; if not, the answer carries `x-should-retry: false`.
    """

    status: int
    name: str
    message: str
    retry: bool = False


def _row(
    status: int, code: Code, message: str, *, retry: bool = False, name: str = ""
) -> tuple[Code, Denial]:
    return code, Denial(status, name or code.value, message, retry)


_ROWS = (
    _row(
        401,
        Code.KEY_MISSING,
        "This request carries no key. Send it as 'Authorization: Bearer <key>'.",
    ),
    _row(
        401,
        Code.KEY_INVALID,
        "This key is not valid. Check that it was copied whole, or ask for a new one.",
    ),
    _row(401, Code.KEY_EXPIRED, "This key has expired. Ask its issuer for a new one."),
    _row(401, Code.KEY_REVOKED, "This key was revoked. Ask its issuer for a new one."),
    _row(401, Code.KEY_DISABLED, "This key is suspended. Ask its issuer to enable it again."),
    _row(
        403,
        Code.SCOPE_DENIED,
        "This key may not do that. Ask its issuer for the scope in 'required_scope'.",
    ),
    _row(
        403,
        Code.USER_DENIED,
        "This key may not act for the user in X-User-Id. Ask its issuer to add the user.",
    ),
    _row(
        403,
        Code.ORIGIN_DENIED,
        "Pages of this origin may not call these tools. Ask the gateway's operator to add "
        "it to their 'origins'.",
    ),
    _row(
        403,
        Code.HOOK_REFUSED,
        "A rule of the gateway's operator does not allow this call. Ask them about it.",
    ),
    _row(
        404,
        Code.NOT_FOUND,
        "There is nothing at this address. Check the name and the path: /agents/NAME/…, "
        "/services/NAME/…, /models/v1/…, /models/anthropic/…, /tools/NAME/mcp or /v1/credentials.",
    ),
    _row(
        403,
        Code.KEY_MISCONFIGURED,
        "What is stored of this key makes no sense, so it is refused. Ask its issuer to "
        "look at 'gateway keys show', and at the gateway's log, which says why.",
    ),
    _row(
        400,
        Code.BAD_REQUEST,
        "This request is malformed or ambiguous. Check its headers, its path and its body.",
    ),
    _row(
        405,
        Code.METHOD_NOT_ALLOWED,
        "This address exists, but not for this method. Use one from the Allow header.",
    ),
    _row(408, Code.REQUEST_TIMEOUT, "The request arrived too slowly. Send it again.", retry=True),
    _row(
        413,
        Code.BODY_TOO_LARGE,
        "The body is larger than is accepted here. Send less, or ask the gateway's operator for "
        "more.",
        name="too_large",
    ),
    _row(
        414, Code.URL_TOO_LONG, "The URL is too long. Send the data in the body.", name="too_large"
    ),
    _row(
        431,
        Code.HEAD_TOO_LARGE,
        "The request's headers are too large. Send fewer.",
        name="too_large",
    ),
    _row(
        429,
        Code.RATE_LIMITED,
        "Too many requests at once. Wait for the seconds in Retry-After.",
        retry=True,
    ),
    _row(
        429,
        Code.CONCURRENCY_LIMITED,
        "Too many requests of this key are under way. Wait until one of them has ended.",
        retry=True,
    ),
    _row(
        429,
        Code.QUOTA_EXHAUSTED,
        "The quota of this key is used up. It begins anew after the seconds in Retry-After.",
    ),
    _row(
        503,
        Code.BUSY,
        "Too much is under way: new keys that are verified, large bodies, tools, or calls that "
        "wait for one upstream. Try again in a second.",
        retry=True,
    ),
    _row(
        503,
        Code.STORE_UNAVAILABLE,
        "Keys cannot be checked at the moment, so nothing is let through. Try again in a second.",
        retry=True,
    ),
    _row(
        503,
        Code.CREDENTIAL_UNAVAILABLE,
        "A credential that this needs is missing, was not checked for too long, or gave no token. "
        "Ask the gateway's operator to look at 'gateway credentials list' and at the log.",
        retry=True,
    ),
    _row(
        503,
        Code.AUDIT_UNAVAILABLE,
        "This could not be recorded in the audit, so it was not done. Try again in a second.",
        retry=True,
    ),
    _row(
        502,
        Code.UPSTREAM_UNREACHABLE,
        "The upstream cannot be reached. Try again later.",
        retry=True,
    ),
    _row(
        502,
        Code.UPSTREAM_PROTOCOL,
        "The upstream answered something that is not valid HTTP. Try again, and tell its operator "
        "if it stays so.",
        retry=True,
    ),
    _row(
        502,
        Code.UPSTREAM_AUTH_FAILED,
        "The upstream refused the credential that the gateway put into the call. Ask the "
        "gateway's operator to look at it.",
    ),
    _row(
        504,
        Code.UPSTREAM_TIMEOUT,
        "The upstream did not answer in time. Try again later.",
        retry=True,
    ),
    _row(
        500,
        Code.INTERNAL,
        "Something broke inside the gateway. Report the request id to its operator.",
        retry=True,
    ),
)
DENIALS: Mapping[Code, Denial] = MappingProxyType(dict(_ROWS))


@dataclass(eq=False)
class Denied(GatewayError):
    """A request is refused: its code, and what the caller may be told beyond the table's sentence.

    `message` replaces the table's sentence; `fields` go into the body's `error` object; `headers`
    are sent in addition to the usual ones. `close`: the connection is closed after the answer,
    because the bytes that follow cannot be trusted to be a request. `key_id` and `consumer`: the
    caller whose key was proven, for the log. `decoy`: the decoy that was used: `key:<id>`, or the
    name of a credential.
    """

    code: Code
    message: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: int = 0
    close: bool = False
    key_id: str = ""
    consumer: str = ""
    decoy: str = ""

    @property
    def denial(self) -> Denial:
        return DENIALS[self.code]

    def __str__(self) -> str:
        return masked(self.message or self.denial.message)


# Some clients show their users the sentence but neither headers nor fields.
_WAITS = {
    Code.RATE_LIMITED: "Too many requests at once. Wait for {seconds} s.",
    Code.QUOTA_EXHAUSTED: "The quota of this key, {most}, is used up. "
    "It begins anew in {seconds} s.",
}


def limited(
    code: Code,
    retry_after: int,
    limit: str,
    most: str,
    headers: tuple[tuple[str, str], ...] = (),
) -> Denied:
    """Return the refusal by `limit`, which allows `most`, for the next `retry_after` seconds."""
    message = _WAITS.get(code, "").format(seconds=retry_after, most=most)
    return Denied(code, message, {"limit": limit}, headers, retry_after)


def scope_denied(scope: str) -> Denied:
    """Return a 403 that names the missing scope in its sentence too."""
    named = masked(scope)
    said = f"This key may not do that. Ask its issuer for the scope '{named}'."
    return Denied(Code.SCOPE_DENIED, said, fields={"required_scope": named})


def bad_request(message: str) -> Denied:
    """Return a 400 after which the connection is closed."""
    return Denied(Code.BAD_REQUEST, message, close=True)


def not_allowed(methods: Iterable[str]) -> Denied:
    """Return a 405 that lists the allowed methods."""
    return Denied(Code.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(methods)),))
