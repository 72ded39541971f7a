"""The admin API: from a request to its answer."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
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
_NO_REVISION = f"If-Match has no effect here: leave it out, or see {OPENAPI_PATH}."
_GUARDS = ("If-Match", "Idempotency-Key")


class AdminApi:
    """`keyless`: the OpenAPI description needs no key, because the listener is on loopback."""

    def __init__(self, backend: Backend, *, keyless: bool) -> None:
        self._backend = backend
        self._keyless = keyless

    async def __call__(self, request: AdminRequest) -> Reply | Streamed | None:
        """Answer a request to the admin API; None if its path is not the API's. Denials of the key
        itself are raised."""
        if not request.path.startswith(f"{PREFIX}/"):
            return None
        try:
            return await self._answer(request)
        except ApiError as problem:
            return _problem_reply(problem, request.request_id)

    async def _answer(self, request: AdminRequest) -> Reply | Streamed:
        if request.path == OPENAPI_PATH:
            return await self._description(request)
        caller = await _caller(request)
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

    async def _description(self, request: AdminRequest) -> Reply:
        if request.method not in ("GET", "HEAD"):
            raise no_method(["GET"])
        if not self._keyless:
            await _caller(request)
        kind: tuple[Any, ...] = ("Content-Type", "application/json")
        # It takes about 50 ms to make: most of a gateway's start, if it were made there.
        text = await asyncio.to_thread(_openapi)
        return Reply(200, (kind, ("Cache-Control", "no-store")), text)


@cache
def _openapi() -> bytes:
    return orjson.dumps(openapi(ROUTES, __version__))


async def _caller(request: AdminRequest) -> Caller:
    async def still() -> Caller | None:
        try:
            return await _caller(request)
        except Denied:
            # Also if Redis cannot be asked: an unconfirmed key must not go on reading.
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
    """Check the key, headers, query and body of a request against its route; ApiError if one does
    not fit."""
    if not caller.may(route.powers):
        needed = " or ".join(f"gateway/{power}" for power in (*route.powers, ADMIN))
        raise scope_denied(f"This needs a key with {needed}.", (*route.powers, ADMIN)[0])
    if route.method != "GET":
        _check_guards(route.headers, request.headers)
    spelled = {name: unquote(value) for name, value in parts.items()}
    query = _query(route.query, request.query)
    return Call(caller, spelled, request.headers, query, _body(route.body, body, context))


def _check_guards(read: Sequence[str], headers: Mapping[bytes, bytes]) -> None:
    """Raise ApiError 400 for a conditional or idempotency header that would have no effect: the
    client relies on it. `read`: the headers that the route acts on."""
    if b"if-match" in headers and "If-Match" not in read:
        raise ApiError(400, "bad_request", _NO_REVISION)
    for guard in _GUARDS:
        # The client has lost the value that it meant to send.
        if headers.get(guard.lower().encode()) == b"":
            raise ApiError(
                400, "bad_request", f"{guard} is empty: give it a value or leave it out."
            )


def _query(shape: type[Input], raw: bytes) -> Input:
    pairs = parse_qsl(raw.lstrip(b"?").decode("ascii", "replace"), keep_blank_values=True)
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise bad_field(name, "It is given twice.")
    return checked(shape, dict(pairs))


def _body(shape: type[Input] | None, raw: bytes, context: FieldContext | None) -> Input | None:
    if shape is None:
        return None
    try:
        data = strict_json.read(raw or b"{}")
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise ApiError(400, "bad_request", "The body must be a JSON object without repeated names.")
    return checked(shape, data, context, strict=True)


def _reply_of(answer: Answer) -> Reply | Streamed:
    headers = (("Content-Type", answer.media), ("Cache-Control", "no-store"), *answer.headers)
    if answer.pieces is not None:
        return Streamed(answer.status, headers, answer.pieces)
    kind_of_data: Any = type(answer.data)
    return Reply(answer.status, headers, adapter(kind_of_data).dump_json(answer.data))


def _problem_reply(problem: ApiError, request_id: str) -> Reply:
    members: dict[str, Any] = {
        **problem.facts,
        "type": "about:blank",
        "title": REASONS[problem.status],
        "status": problem.status,
        "detail": str(problem),
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        members["errors"] = problem.errors
    headers: tuple[tuple[str, str], ...] = (
        ("Content-Type", "application/problem+json"),
        ("Cache-Control", "no-store"),
    )
    if problem.allow:
        headers += (("Allow", ", ".join(problem.allow)),)
    again = problem.status == 503
    headers += (("Retry-After", "1") if again else ("x-should-retry", "false"),)
    denied = problem.code if problem.status == 403 else ""
    return Reply(problem.status, headers, orjson.dumps(members), denied)
