"""`/admin/v1/keys`: looking at them, as `gateway keys list` and `show` do."""

import hashlib
from dataclasses import asdict
from typing import Annotated

import structlog
from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.routing import Call, Route, Shape, Told
from gateway.admin.times import seconds
from gateway.domain import scopes
from gateway.domain.errors import UsageError
from gateway.domain.key_views import KeyView, view
from gateway.domain.usage import Counts
from gateway.services.audited_keys import AuditedKeys
from gateway.services.find_keys import KeyFilter, one, page
from gateway.services.usage import reached

DAY = 86_400
READ = ("read", "keys")

log = structlog.get_logger()


class KeyPage(BaseModel):
    keys: tuple[KeyView, ...]
    next: str | None


class ContainedShape(BaseModel):
    id: str
    outcome: str
    reached: dict[str, Counts]


class ListQuery(Shape):
    consumer: str | None = None
    state: str | None = None
    scope: str | None = None
    expiring_within: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    after: str = ""


class DaysQuery(Shape):
    days: Annotated[int, Field(ge=1, le=35)] = 7


async def list_keys(backend: Backend, call: Call) -> Told:
    asked: ListQuery = call.query
    scope = None
    if asked.scope is not None and (scope := scopes.parse(asked.scope)) is None:
        raise UsageError(f"{asked.scope!r} is not a scope.")
    within = None
    if asked.expiring_within is not None:
        within = seconds("expiring_within", asked.expiring_within)
    wanted = KeyFilter(asked.consumer, asked.state, scope, within)
    found = await page(keys_of(backend, call), wanted, limit=asked.limit, after=asked.after)
    return Told(KeyPage(keys=found.keys, next=found.next))


async def show(backend: Backend, call: Call) -> Told:
    keys = keys_of(backend, call)
    key = view(await one(keys, call.parts["id"]), await keys.now())
    return Told(key, headers=(("ETag", etag(key)),))


async def reach(backend: Backend, call: Call) -> Told:
    await one(keys_of(backend, call), call.parts["id"])
    return Told(
        ContainedShape(
            id=call.parts["id"], outcome="looked at", reached=await reached_by(backend, call)
        )
    )


async def reached_by(backend: Backend, call: Call) -> dict[str, Counts]:
    asked: DaysQuery = call.query
    now = backend.clock()
    found = await reached(backend.usage, call.parts["id"], now - (asked.days - 1) * DAY, now)
    return {name or "none": counts for name, counts in sorted(found.items())}


def keys_of(backend: Backend, call: Call) -> AuditedKeys:
    def unrecorded(key_id: str) -> None:
        log.error("revocation_not_audited", key_id=key_id, actor=call.caller.actor)

    return backend.keys(call.caller.actor, unrecorded)


def etag(key: KeyView) -> str:
    told = repr(sorted(asdict(key).items())).encode()
    return f'"{hashlib.sha256(told).hexdigest()[:24]}"'


ROUTES: tuple[Route[Backend], ...] = (
    Route("GET", "/keys", "List keys", READ, list_keys, KeyPage, query=ListQuery),
    Route("GET", "/keys/{id}", "Show a key", READ, show, KeyView),
    Route(
        "GET",
        "/keys/{id}/reach",
        "What a key asked for",
        READ,
        reach,
        ContainedShape,
        query=DaysQuery,
    ),
)
