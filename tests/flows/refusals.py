"""How a refusal looks to a caller."""

from typing import Any

from gateway.domain.errors import DENIALS, Code
from tests.flows.world import Answer

TYPES = {
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
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "api_error",
}


def check(answer: Answer, code: Code) -> dict[str, Any]:
    """The one shape that every refusal has; returns its `error` object."""
    row = DENIALS[code]
    body = answer.json
    error: dict[str, Any] = body["error"]
    assert answer.status == row.status
    assert answer.headers["Content-Type"] == "application/json"
    assert body["type"] == "error"
    assert error["type"] == TYPES[row.status]
    assert error["code"] == row.name
    assert error["param"] is None
    assert error["message"].endswith(".")
    request_id = answer.headers["X-Request-Id"]
    assert body["request_id"] == request_id == answer.headers["request-id"]
    challenge = answer.headers.get("WWW-Authenticate", "")
    assert challenge.startswith('Bearer realm="gateway"') == (row.status == 401)
    return error
