"""`/admin/v1/usage`, `/workers` and `/health`: how the gateway does."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.keys import keys_of
from gateway.admin.routing import Answer, Call, Input, Route, bad_field
from gateway.domain.usage import By, Counts, Step
from gateway.domain.workers import WorkerRecord
from gateway.services.keys.find import no_key
from gateway.services.telemetry.usage import (
    EVERYTHING,
    Latency,
    Point,
    key_series,
    latencies,
    series,
    totals,
)

MOST_BUCKETS = 400


class SeriesShape(BaseModel):
    points: list[Point]


class TotalsShape(BaseModel):
    names: dict[str, Counts]


class LatencyShape(BaseModel):
    """In milliseconds: `whole` over all buckets, `points` of each."""

    whole: Latency
    points: list[Latency]


class WorkersShape(BaseModel):
    workers: list[WorkerRecord]


class HealthShape(BaseModel):
    """`missing`: what keeps this worker from serving, one word each."""

    ready: bool
    missing: list[str]
    revision: str
    credentials_age: float | None
    credentials_error: str


class SpanQuery(Input):
    """The `last` buckets of time, each one `step` wide."""

    step: Literal["minute", "hour", "day"] = "hour"
    last: Annotated[int, Field(ge=1, le=MOST_BUCKETS)] = 24

    def until(self, now: float) -> tuple[Step, float, float]:
        step = Step(self.step)
        return step, now - (self.last - 1) * step.seconds, now


class TotalsQuery(SpanQuery):
    by: Literal["all", "agent", "consumer", "code"] = "all"


class UsageQuery(TotalsQuery):
    name: str = ""


class KeyUsageQuery(SpanQuery):
    """Minutes are kept for one hour, hours for three days, days for 35 days."""

    step: Literal["minute", "hour", "day"] = "day"
    last: Annotated[int, Field(ge=1, le=72)] = 30


async def usage_series(backend: Backend, call: Call) -> Answer:
    asked: UsageQuery = call.query
    if (asked.by == "all") is bool(asked.name):
        raise bad_field("name", "give the agent, consumer or code; with 'all', leave it out")
    name = asked.name or EVERYTHING
    points = await series(backend.usage, By(asked.by), name, *asked.until(backend.clock()))
    return Answer(SeriesShape(points=points))


async def usage_totals(backend: Backend, call: Call) -> Answer:
    asked: TotalsQuery = call.query
    found = await totals(backend.usage, By(asked.by), *asked.until(backend.clock()))
    most_first = sorted(found.items(), key=lambda item: -item[1].requests)
    return Answer(TotalsShape(names={name or "all": counts for name, counts in most_first}))


async def usage_latency(backend: Backend, call: Call) -> Answer:
    asked: SpanQuery = call.query
    whole, points = await latencies(backend.usage, *asked.until(backend.clock()))
    return Answer(LatencyShape(whole=whole, points=points))


async def usage_of_key(backend: Backend, call: Call) -> Answer:
    asked: KeyUsageQuery = call.query
    key_id = call.parts["id"]
    points = await key_series(backend.usage, key_id, *asked.until(backend.clock()))
    # The usage of a deleted key is still answered for as long as it is kept.
    if not any(point.counts.requests for point in points):
        record, _ = await keys_of(backend, call).revised(key_id)
        if record is None:
            raise no_key(key_id)
    return Answer(SeriesShape(points=points))


async def workers(backend: Backend, _: Call) -> Answer:
    return Answer(WorkersShape(workers=await backend.workers.all()))


async def health(backend: Backend, _: Call) -> Answer:
    missing = await backend.ready()
    age = backend.credentials.age
    return Answer(
        HealthShape(
            ready=not missing,
            missing=list(missing),
            revision=backend.policies().revision,
            credentials_age=age if age < float("inf") else None,
            credentials_error=backend.credentials.last_error,
        )
    )


READ = ("read",)
ROUTES: tuple[Route, ...] = (
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
        query=TotalsQuery,
    ),
    Route(
        "GET",
        "/usage/latency",
        "How long requests took, in buckets of time",
        READ,
        usage_latency,
        LatencyShape,
        query=SpanQuery,
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
