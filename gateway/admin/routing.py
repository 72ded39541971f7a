"""The routes of the admin API as data: requests are dispatched and OpenAPI is generated from them,
so that the two cannot differ."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import getdoc
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gateway.admin.backend import Backend
from gateway.admin.fields import FieldContext
from gateway.domain.errors import (
    AuditError,
    ChangedError,
    GatewayError,
    MissingError,
    OperationError,
    StoreError,
    UsageError,
)
from gateway.domain.keys.key import is_id, masked
from gateway.domain.keys.scopes import Grants, Scope
from gateway.services.keys.find import no_key

PREFIX = "/admin/v1"
ADMIN = "admin"
JSON = "application/json"
_FAILURES: tuple[tuple[type[GatewayError], int, str], ...] = (
    (MissingError, 404, "not_found"),
    (ChangedError, 412, "changed"),
    (OperationError, 409, "refused"),
    (AuditError, 503, "audit_unavailable"),
    (StoreError, 503, "store_unavailable"),
)
_PARAMETER = re.compile(r"\{(\w+)\}")


class Input(BaseModel):
    """A query or body that comes in: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NoQuery(Input):
    pass


class ApiError(GatewayError):
    """An RFC 9457 answer. `errors`: each bad field and what is wrong with it. `allow`: the methods
    that are allowed instead. `facts`: further members of the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        allow: Iterable[str] = (),
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.errors = tuple({name: masked(said) for name, said in one.items()} for one in errors)
        self.allow = tuple(allow)
        self.facts = facts


async def _nobody() -> None:
    """The default of `Caller.still`: cannot be asked again."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of the key of a request. `still`: checks the key again for answers that take long;
    None if it would no longer be let in."""

    key_id: str
    consumer: str
    grants: Grants
    still: Callable[[], Awaitable["Caller | None"]] = field(
        default=_nobody, repr=False, compare=False
    )

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"

    def may(self, powers: Sequence[str]) -> bool:
        return any(self.grants.allow(Scope("gateway", power, power)) for power in (ADMIN, *powers))


@dataclass(frozen=True, slots=True)
class Call:
    """One checked request. `parts`: the parameters of the path, of which `id` is a key's.
    `headers`: by lower-case name."""

    caller: Caller
    parts: Mapping[str, str]
    headers: Mapping[bytes, bytes] = field(repr=False)
    query: Any
    body: Any = field(repr=False)

    def __post_init__(self) -> None:
        key_id = self.parts.get("id")
        if key_id is not None and not is_id(key_id):
            # It may be a whole key, which must not be sent to Redis as a name.
            raise no_key(key_id)

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a handler: `data`, a dataclass or model that is sent as JSON, or `pieces`, a
    streamed body of the type `media`."""

    data: Any = field(default=None, repr=False)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: AsyncGenerator[bytes, None] | None = field(default=None, repr=False)
    media: str = JSON


Handler = Callable[[Backend, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """`powers`: any scope `gateway/<power>` is enough, as is `gateway/admin`. `answer`: the type of
    the data. `media`: the content type."""

    method: str
    path: str
    summary: str
    powers: tuple[str, ...]
    handler: Handler
    answer: type
    body: type[Input] | None = None
    query: type[Input] = NoQuery
    status: int = 200
    headers: tuple[str, ...] = ()
    media: str = JSON
    pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spelled = _PARAMETER.sub(r"(?P<\1>[^/]+)", PREFIX + self.path)
        object.__setattr__(self, "pattern", re.compile(spelled))

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)


class Routes(list[Route]):
    """The routes of one module, in the order of its handlers."""

    def add(
        self,
        method: str,
        path: str,
        powers: tuple[str, ...],
        answer: type,
        body: type[Input] | None = None,
        *,
        query: type[Input] = NoQuery,
        status: int = 200,
        headers: tuple[str, ...] = (),
        media: str = JSON,
        summary: str = "",
    ) -> Callable[[Handler], Handler]:
        """Send requests to the decorated handler. The arguments are those of `Route`; the summary
        is the handler's docstring, if none is given."""

        def added(handler: Handler) -> Handler:
            about = summary or (getdoc(handler) or "").rstrip(".")
            given = method, path, about, powers, handler, answer, body
            self.append(Route(*given, query, status, headers, media))
            return handler

        return added


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return the route and the parameters of its path; ApiError 404 or 405 if there is none."""
    allowed = []
    for route in routes:
        match = route.pattern.fullmatch(path)
        if match is None:
            continue
        if route.method == method or (route.method, method) == ("GET", "HEAD"):
            return route, match.groupdict()
        allowed.append(route.method)
    if allowed:
        raise no_method(allowed)
    raise ApiError(404, "not_found", f"There is nothing here: see {PREFIX}/openapi.json.")


def no_method(allowed: Iterable[str]) -> ApiError:
    names = sorted(set(allowed))
    others = ["HEAD"] if "GET" in names else []
    message = f"Use {' or '.join(names)} here."
    return ApiError(405, "method_not_allowed", message, allow=(*names, *others))


def scope_denied(message: str, power: str) -> ApiError:
    """`power`: the weakest one that is enough."""
    return ApiError(403, "scope_denied", message, facts={"required_scope": f"gateway/{power}"})


def api_error(problem: GatewayError) -> ApiError:
    """Return the answer to a request whose handler raised `problem`."""
    if isinstance(problem, UsageError):
        return bad_field(problem.about or "request", str(problem))
    for kind, status, code in _FAILURES:
        if isinstance(problem, kind):
            return ApiError(status, code, str(problem))
    raise problem


def bad_field(name: str, message: str) -> ApiError:
    """Return the answer to a request with one invalid field."""
    detail = f"{name}: {message.rstrip('.')}."
    return ApiError(422, "invalid", detail, [{"field": name, "message": message}])


Checked = TypeVar("Checked", bound=Input)


def checked(
    shape: type[Checked], data: Any, context: FieldContext | None = None, *, strict: bool = False
) -> Checked:
    """Validate `data` as a `shape`; ApiError 422 names every invalid field."""
    try:
        return shape.model_validate(data, strict=strict, context=context)
    except ValidationError as problem:
        errors = [
            {"field": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
            for one in problem.errors(include_url=False, include_input=False)
        ]
        detail = f"Invalid: {', '.join(one['field'] for one in errors)}."
        raise ApiError(422, "invalid", detail, errors) from None


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The serializer of answers of this type."""
    return TypeAdapter(kind)
