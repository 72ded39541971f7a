"""`/admin/v1/usage`, `/workers` and `/health`: how the gateway does."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.keys import keys_of
from gateway.admin.routing import Answer, Call, Input, Routes, bad_field
from gateway.domain.usage import EVERYTHING, By, Counts, Step
from gateway.domain.workers import WorkerRecord
from gateway.services.keys.find import no_key
from gateway.services.telemetry.usage_reports import (
    Latency,
    Point,
    key_series,
    latencies,
    series,
    totals,
)

READ = ("read",)
ROUTES = Routes()
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
    """`missing`: what keeps this worker from serving, one word each. `audit_error`: why its last
    audit records could not be written."""

    ready: bool
    missing: list[str]
    revision: str
    credentials_age: float | None
    credentials_error: str
    audit_error: str


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


@ROUTES.add("GET", "/usage", READ, SeriesShape, query=UsageQuery)
async def usage_series(backend: Backend, call: Call) -> Answer:
    """Show usage in buckets of time."""
    query: UsageQuery = call.query
    if (query.by == "all") is bool(query.name):
        raise bad_field("name", "give the agent, consumer or code; with 'all', leave it out")
    name = query.name or EVERYTHING
    points = await series(backend.usage, By(query.by), name, *query.until(backend.clock()))
    return Answer(SeriesShape(points=points))


@ROUTES.add("GET", "/usage/totals", READ, TotalsShape, query=TotalsQuery)
async def usage_totals(backend: Backend, call: Call) -> Answer:
    """Show total usage by name."""
    query: TotalsQuery = call.query
    found = await totals(backend.usage, By(query.by), *query.until(backend.clock()))
    most_first = sorted(found.items(), key=lambda item: -item[1].requests)
    return Answer(TotalsShape(names={name or "all": counts for name, counts in most_first}))


@ROUTES.add("GET", "/usage/latency", READ, LatencyShape, query=SpanQuery)
async def usage_latency(backend: Backend, call: Call) -> Answer:
    """Show latencies in buckets of time."""
    query: SpanQuery = call.query
    whole, points = await latencies(backend.usage, *query.until(backend.clock()))
    return Answer(LatencyShape(whole=whole, points=points))


@ROUTES.add("GET", "/keys/{id}/usage", ("read", "keys"), SeriesShape, query=KeyUsageQuery)
async def usage_of_key(backend: Backend, call: Call) -> Answer:
    """Show a key's usage in buckets of time."""
    query: KeyUsageQuery = call.query
    key_id = call.parts["id"]
    points = await key_series(backend.usage, key_id, *query.until(backend.clock()))
    # The usage of a deleted key is still answered for as long as it is kept.
    if not any(point.counts.requests for point in points):
        record, _ = await keys_of(backend, call).revised(key_id)
        if record is None:
            raise no_key(key_id)
    return Answer(SeriesShape(points=points))


@ROUTES.add("GET", "/workers", READ, WorkersShape)
async def workers(backend: Backend, _: Call) -> Answer:
    """List the worker processes."""
    return Answer(WorkersShape(workers=await backend.workers.all()))


@ROUTES.add("GET", "/health", READ, HealthShape)
async def health(backend: Backend, _: Call) -> Answer:
    """Show this worker's health."""
    missing = await backend.ready()
    age = backend.credentials.age
    return Answer(
        HealthShape(
            ready=not missing,
            missing=list(missing),
            revision=backend.policies().revision,
            credentials_age=age if age < float("inf") else None,
            credentials_error=backend.credentials.last_error,
            audit_error=backend.audit.problem,
        )
    )
