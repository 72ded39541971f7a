"""The answers of refusals: on the data listener with a body that OpenAI's and Anthropic's clients
read."""

import orjson

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.answer import REASONS
from gateway.protocol.http.reply import Reply

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "request_too_large",
    414: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large",
    503: "overloaded_error",
}
_CHALLENGE = 'Bearer realm="gateway"'
# Official clients sleep for all of Retry-After; above this it is better to tell their caller.
LONGEST_RETRY = 60


def refusal(denied: Denied, request_id: str) -> Reply:
    """Return the answer for `denied`; of the request it holds nothing but the request id."""
    body = orjson.dumps({**error_object(denied), "request_id": request_id})
    return _reply(denied, request_id, "application/json", body)


def error_object(denied: Denied) -> dict[str, object]:
    """Return the error object that programs read, in whatever kind of answer."""
    row = denied.denial
    error = {
        "type": _TYPES.get(row.status, "api_error"),
        "code": row.name,
        "message": str(denied),
        "param": None,
        **denied.fields,
    }
    return {"type": "error", "error": error}


def problem(denied: Denied, request_id: str) -> Reply:
    """Return the answer for `denied` on the admin listener, in the format of RFC 9457."""
    row = denied.denial
    told = {
        "type": "about:blank",
        "title": REASONS.get(row.status, ""),
        "status": row.status,
        "detail": str(denied),
        "code": row.name,
        "request_id": request_id,
        **denied.fields,
    }
    return _reply(denied, request_id, "application/problem+json", orjson.dumps(told))


def _reply(denied: Denied, request_id: str, content_type: str, body: bytes) -> Reply:
    row = denied.denial
    headers = [("Content-Type", content_type), ("Cache-Control", "no-store")]
    if row.status == 401:
        sent = denied.code is not Code.KEY_MISSING
        headers.append(
            ("WWW-Authenticate", _CHALLENGE + (', error="invalid_token"' if sent else ""))
        )
    if denied.retry_after:
        headers.append(("Retry-After", str(denied.retry_after)))
    if not row.retry or denied.retry_after > LONGEST_RETRY:
        headers.append(("x-should-retry", "false"))
    names = [("X-Request-Id", request_id), ("request-id", request_id)]
    return Reply(row.status, (*headers, *denied.headers, *names), body)
