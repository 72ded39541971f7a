"""`/admin/v1/audit`, `/usage`, `/workers` and `/health`: what happened, and how it goes."""

from collections import deque
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.routing import Call, Route, Shape, Told
from gateway.domain.usage import By, Counts, Step
from gateway.domain.workers import WorkerRecord
from gateway.services.usage import EVERYTHING, Point, key_series, series, totals

MOST_BUCKETS = 400


class SeriesShape(BaseModel):
    points: list[Point]


class TotalsShape(BaseModel):
    names: dict[str, Counts]


class AuditShape(BaseModel):
    """Newest first. `next`: what to give as `before` for the ones behind; null: no more."""

    records: list[dict[str, Any]]
    next: str | None


class WorkersShape(BaseModel):
    workers: list[WorkerRecord]


class HealthShape(BaseModel):
    """`missing`: what keeps this worker from serving, a word each."""

    ready: bool
    missing: list[str]
    revision: str
    credentials_age: float | None
    credentials_error: str


class UsageQuery(Shape):
    by: Literal["all", "agent", "consumer", "code"] = "all"
    name: str = ""
    step: Literal["minute", "hour", "day"] = "hour"
    last: Annotated[int, Field(ge=1, le=MOST_BUCKETS)] = 24


class KeyUsageQuery(Shape):
    step: Literal["hour", "day"] = "day"
    last: Annotated[int, Field(ge=1, le=72)] = 30


class AuditQuery(Shape):
    event: str = ""
    key: str = ""
    consumer: str = ""
    agent: str = ""
    user: str = ""
    actor: str = ""
    decision: Literal["", "allowed", "denied"] = ""
    before: Annotated[str, Field(pattern=r"^(\d{1,15}-\d{1,15})?$")] = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


async def usage_series(backend: Backend, call: Call) -> Told:
    asked: UsageQuery = call.query
    step, now = Step(asked.step), backend.clock()
    since = now - (asked.last - 1) * step.seconds
    name = asked.name or EVERYTHING
    points = await series(backend.usage, By(asked.by), name, step, since, now)
    return Told(SeriesShape(points=points))


async def usage_totals(backend: Backend, call: Call) -> Told:
    asked: UsageQuery = call.query
    step, now = Step(asked.step), backend.clock()
    since = now - (asked.last - 1) * step.seconds
    found = await totals(backend.usage, By(asked.by), step, since, now)
    most_first = sorted(found.items(), key=lambda item: -item[1].requests)
    return Told(TotalsShape(names={name or "all": counts for name, counts in most_first}))


async def usage_of_key(backend: Backend, call: Call) -> Told:
    asked: KeyUsageQuery = call.query
    step, now = Step(asked.step), backend.clock()
    since = now - (asked.last - 1) * step.seconds
    points = await key_series(backend.usage, call.parts["id"], step, since, now)
    return Told(SeriesShape(points=points))


async def audit(backend: Backend, call: Call) -> Told:
    asked: AuditQuery = call.query
    wanted = {
        "event": asked.event,
        "key_id": asked.key,
        "consumer": asked.consumer,
        "agent": asked.agent,
        "user": asked.user,
        "actor": asked.actor,
        "decision": asked.decision,
    }
    wanted = {name: value for name, value in wanted.items() if value}
    found: deque[dict[str, Any]] = deque()
    last = None
    async for entry, text in backend.audit_store.read_back(asked.before):
        record = _record(text)
        if record is None or any(record.get(name) != value for name, value in wanted.items()):
            continue
        if len(found) == asked.limit:
            return Told(AuditShape(records=list(found), next=last))
        found.append(record)
        last = entry
    return Told(AuditShape(records=list(found), next=None))


def _record(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


async def workers(backend: Backend, _: Call) -> Told:
    return Told(WorkersShape(workers=await backend.workers.all()))


async def health(backend: Backend, _: Call) -> Told:
    missing = await backend.ready()
    age = backend.credentials.age
    return Told(
        HealthShape(
            ready=not missing,
            missing=list(missing),
            revision=backend.policies().revision,
            credentials_age=age if age < float("inf") else None,
            credentials_error=backend.credentials.last_error,
        )
    )


READ = ("read",)
ROUTES: tuple[Route[Backend], ...] = (
    Route(
        "GET",
        "/usage",
        "What was used, in buckets of time",
        READ,
        usage_series,
        SeriesShape,
        query=UsageQuery,
    ),
    Route(
        "GET",
        "/usage/totals",
        "What was used, by name",
        READ,
        usage_totals,
        TotalsShape,
        query=UsageQuery,
    ),
    Route(
        "GET",
        "/keys/{id}/usage",
        "What a key used, in buckets of time",
        ("read", "keys"),
        usage_of_key,
        SeriesShape,
        query=KeyUsageQuery,
    ),
    Route("GET", "/audit", "Audit records", ("audit",), audit, AuditShape, query=AuditQuery),
    Route("GET", "/workers", "The processes that serve", READ, workers, WorkersShape),
    Route("GET", "/health", "How this worker does", READ, health, HealthShape),
)
