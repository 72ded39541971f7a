"""`/admin/v1/usage`, `/workers` and `/health`: what happened, and how it goes."""

from typing import Annotated, Literal

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
    Route("GET", "/workers", "The processes that serve", READ, workers, WorkersShape),
    Route("GET", "/health", "How this worker does", READ, health, HealthShape),
)
