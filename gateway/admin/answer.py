"""The admin API as one answer to one request."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from gateway import __version__
from gateway.admin.backend import Backend
from gateway.admin.fields import FieldContext
from gateway.admin.openapi import openapi
from gateway.admin.routes import ROUTES
from gateway.admin.routing import (
    ADMIN,
    PREFIX,
    Answer,
    ApiError,
    Call,
    Caller,
    Input,
    Route,
    adapter,
    api_error,
    bad_field,
    checked,
    find_route,
    no_method,
    scope_denied,
)
from gateway.domain.errors import Denied, OperationError, StoreError, UsageError
from gateway.protocol import strict_json
from gateway.protocol.http.answer import REASONS
from gateway.protocol.http.reply import Reply, Streamed
from gateway.services.admin_request import AdminRequest

LONGEST_BODY = 512 * 1024
OPENAPI_PATH = f"{PREFIX}/openapi.json"
_NO_REVISION = f"If-Match is not compared here: leave it out, or see {OPENAPI_PATH}."
_GUARDS = ("If-Match", "Idempotency-Key")


class AdminApi:
    """`keyless`: the listener is on loopback, where the description takes no key."""

    def __init__(self, backend: Backend, *, keyless: bool) -> None:
        self._backend = backend
        self._keyless = keyless
        self._openapi = orjson.dumps(openapi(ROUTES, __version__))

    async def __call__(self, request: AdminRequest) -> Reply | Streamed | None:
        """None: it is for somebody else. Refusals of the key itself are raised as they are."""
        if not request.path.startswith(f"{PREFIX}/"):
            return None
        try:
            return await self._answer(request)
        except ApiError as problem:
            return _problem_reply(problem, request.request_id)

    async def _answer(self, request: AdminRequest) -> Reply | Streamed:
        described = request.path == OPENAPI_PATH
        if described and request.method not in ("GET", "HEAD"):
            raise no_method(["GET"])
        if described and self._keyless:
            return self._description()
        caller = await _caller(request)
        if described:
            return self._description()
        route, parts = find_route(ROUTES, request.method, request.path)
        body = b""
        if route.body is not None:
            body = await request.read_body(LONGEST_BODY)
        try:
            context = await self._backend.field_context() if body else None
            call = _call(route, parts, caller, request, body, context)
            return _reply_of(await route.handler(self._backend, call))
        except (UsageError, OperationError, StoreError) as problem:
            raise api_error(problem) from None

    def _description(self) -> Reply:
        kind: tuple[Any, ...] = ("Content-Type", "application/json")
        return Reply(200, (kind, ("Cache-Control", "no-store")), self._openapi)


async def _caller(request: AdminRequest) -> Caller:
    async def still() -> Caller | None:
        try:
            return await _caller(request)
        except Denied:
            # Also while nobody can say: what is read here is worth waiting for.
            return None

    identity = await request.identify()
    return Caller(identity.key_id, identity.consumer, identity.grants, still)


def _call(
    route: Route,
    parts: Mapping[str, str],
    caller: Caller,
    request: AdminRequest,
    body: bytes,
    context: FieldContext | None,
) -> Call:
    """ApiError where the key, the headers, the query or the body are not what the route takes."""
    if not caller.may(route.powers):
        needed = " or ".join(f"gateway/{power}" for power in (*route.powers, ADMIN))
        raise scope_denied(f"This needs a key with {needed}.", (*route.powers, ADMIN)[0])
    if route.method != "GET":
        _check_guards(route.headers, request.headers)
    spelled = {name: unquote(value) for name, value in parts.items()}
    query = _query(route.query, request.query)
    return Call(caller, spelled, request.headers, query, _body(route.body, body, context))


def _check_guards(read: Sequence[str], headers: Mapping[bytes, bytes]) -> None:
    """ApiError 400 where a header that is to keep an act from doing harm would keep it from none.
    `read`: those that the route reads."""
    if b"if-match" in headers and "If-Match" not in read:
        raise ApiError(400, "bad_request", _NO_REVISION)
    for guard in _GUARDS:
        # A client that lost what it wanted to send.
        if headers.get(guard.lower().encode()) == b"":
            raise ApiError(
                400, "bad_request", f"{guard} is empty: give it a value or leave it out."
            )


def _query(shape: type[Input], raw: bytes) -> Input:
    pairs = parse_qsl(raw.lstrip(b"?").decode("ascii", "replace"), keep_blank_values=True)
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise bad_field(name, "It is there twice.")
    return checked(shape, dict(pairs))


def _body(shape: type[Input] | None, raw: bytes, context: FieldContext | None) -> Input | None:
    if shape is None:
        return None
    try:
        data = strict_json.read(raw or b"{}")
    except ValueError:
        data = None
    if not isinstance(data, dict):
        told = "The body has to be a JSON object, with each name once."
        raise ApiError(400, "bad_request", told)
    return checked(shape, data, context, strict=True)


def _reply_of(told: Answer) -> Reply | Streamed:
    headers = (("Content-Type", told.media), ("Cache-Control", "no-store"), *told.headers)
    if told.pieces is not None:
        return Streamed(told.status, headers, told.pieces)
    kind_of_data: Any = type(told.data)
    return Reply(told.status, headers, adapter(kind_of_data).dump_json(told.data))


def _problem_reply(problem: ApiError, request_id: str) -> Reply:
    told: dict[str, Any] = {
        **problem.facts,
        "type": "about:blank",
        "title": REASONS[problem.status],
        "status": problem.status,
        "detail": str(problem),
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        told["errors"] = problem.errors
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/problem+json"),
        ("Cache-Control", "no-store"),
    )
    if problem.allow:
        headers += (("Allow", ", ".join(problem.allow)),)
    again = problem.status == 503
    headers += (("Retry-After", "1") if again else ("x-should-retry", "false"),)
    denied = problem.code if problem.status == 403 else ""
    return Reply(problem.status, headers, orjson.dumps(told), denied)
