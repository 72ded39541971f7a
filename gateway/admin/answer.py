"""The admin API as one answer to one request."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from gateway import __version__
from gateway.admin.backend import Backend
from gateway.admin.openapi import openapi
from gateway.admin.routes import ROUTES
from gateway.admin.routing import (
    LONGEST_BODY,
    PREFIX,
    Api,
    ApiError,
    Caller,
    Route,
    no_method,
    problem_reply,
)
from gateway.domain.errors import Denied
from gateway.protocol.http.reply import Reply, Streamed
from gateway.services.admin_request import AdminRequest

OPENAPI_PATH = f"{PREFIX}/openapi.json"


class AdminApi:
    """`keyless`: the listener is on loopback, where the description takes no key."""

    def __init__(
        self,
        backend: Backend,
        *,
        keyless: bool,
        routes: Sequence[Route[Backend]] = ROUTES,
    ) -> None:
        self._api: Api[Backend] = Api(backend, routes)
        self._keyless = keyless
        self._openapi = orjson.dumps(openapi(routes, __version__))

    async def __call__(self, request: AdminRequest) -> Reply | Streamed | None:
        """None: it is for somebody else. Refusals of the key itself are raised as they are."""
        if not request.path.startswith(f"{PREFIX}/"):
            return None
        try:
            return await self._answer(request)
        except ApiError as problem:
            return problem_reply(problem, request.request_id)

    async def _answer(self, request: AdminRequest) -> Reply | Streamed:
        described = request.path == OPENAPI_PATH
        if described and request.method not in ("GET", "HEAD"):
            raise no_method(["GET"])
        if described and self._keyless:
            return self._description()
        caller = await _caller(request)
        if described:
            return self._description()
        route, parts = self._api.find(request.method, request.path)
        body = b""
        if route.body is not None:
            body = await request.read_body(LONGEST_BODY)
        spelled = {name: unquote(value) for name, value in parts.items()}
        return await self._api.answer(route, spelled, caller, request.query, request.headers, body)

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
