"""What the admin API answers: routes as data, from which requests are dispatched and OpenAPI is
written, so that neither can say what the other does not."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gateway.admin.backend import Backend
from gateway.admin.fields import FieldContext
from gateway.domain.errors import (
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
    (StoreError, 503, "store_unavailable"),
)
_PARAMETER = re.compile(r"\{(\w+)\}")


class Input(BaseModel):
    """JSON that comes in: nothing unknown, nothing converted in silence."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NoQuery(Input):
    pass


class ApiError(GatewayError):
    """An answer of RFC 9457. `errors`: each bad field with what is wrong with it. `allow`: the
    methods that there are instead. `facts`: further members of the answer."""

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
    """Who is not known by a key has nothing that lasts."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request came with. `still`: who that is when it is asked again, None where it
    would not be let in any more; for answers that take long."""

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
    """One request, read and checked. `parts`: of the path, `id` in it is a key's; `headers` by
    lower-case name."""

    caller: Caller
    parts: Mapping[str, str]
    headers: Mapping[bytes, bytes] = field(repr=False)
    query: Any
    body: Any = field(repr=False)

    def __post_init__(self) -> None:
        key_id = self.parts.get("id")
        if key_id is not None and not is_id(key_id):
            # It may be a whole key, which no store is to be asked for.
            raise no_key(key_id)

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `data`: a dataclass or a model, as JSON. `pieces`: in its place, a body
    of the type `media` that comes piece by piece."""

    data: Any = field(default=None, repr=False)
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: AsyncGenerator[bytes, None] | None = field(default=None, repr=False)
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Route:
    """`powers`: any of `gateway/<power>` is enough, as is `gateway/admin`. `media`: the type of the
    answer."""

    method: str
    path: str
    summary: str
    powers: tuple[str, ...]
    handler: Callable[[Backend, Call], Awaitable[Answer]]
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


def find_route(routes: Iterable[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """The route, and the parts of its path; ApiError 404 or 405 where there is none."""
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
    told = f"Use {' or '.join(names)} here."
    return ApiError(405, "method_not_allowed", told, allow=(*names, *others))


def scope_denied(told: str, power: str) -> ApiError:
    """`power`: the least of those that are enough."""
    return ApiError(403, "scope_denied", told, facts={"required_scope": f"gateway/{power}"})


def api_error(problem: GatewayError) -> ApiError:
    """The answer to a request whose handler raised `problem`."""
    if isinstance(problem, UsageError):
        return bad_field(problem.about or "request", str(problem))
    for kind, status, code in _FAILURES:
        if isinstance(problem, kind):
            return ApiError(status, code, str(problem))
    raise problem


def bad_field(name: str, message: str) -> ApiError:
    """The answer to a request in which one thing is not as it has to be."""
    told = f"{name}: {message.rstrip('.')}."
    return ApiError(422, "invalid", told, [{"field": name, "message": message}])


Checked = TypeVar("Checked", bound=Input)


def checked(
    shape: type[Checked], data: Any, context: FieldContext | None = None, *, strict: bool = False
) -> Checked:
    """ApiError 422 names every field that is not as it has to be."""
    try:
        return shape.model_validate(data, strict=strict, context=context)
    except ValidationError as problem:
        errors = [
            {"field": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
            for one in problem.errors(include_url=False, include_input=False)
        ]
        told = f"Not as they have to be: {', '.join(one['field'] for one in errors)}."
        raise ApiError(422, "invalid", told, errors) from None


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What writes and describes answers of this type."""
    return TypeAdapter(kind)
