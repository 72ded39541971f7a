"""`/admin/v1/audit`: search records, follow them, export them and verify them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.fields import EventFilter
from gateway.admin.routing import Answer, Call, Input, Routes, checked
from gateway.admin.times import since_second, until_second
from gateway.domain.audit.filters import FILTERS, Filters, filters_of
from gateway.services.audit.readers import MayRead, search
from gateway.services.audit.verify import Verdict

POWERS = ("audit",)
EVENTS, LINES = "text/event-stream", "application/x-ndjson"
MOST_VERIFIED = 200_000
ROUTES = Routes()
_ENTRY = r"^(\d{1,15}-\d{1,15})?$"


class AuditShape(BaseModel):
    """Newest first. `next`: give it as `before` to get older records; null if there are none. One
    request looks at 10,000 records at most, so `records` may be empty although there are more.
    `newest`: give it to a tail as `after` to go on from here."""

    records: list[dict[str, Any]]
    next: str | None
    newest: str


class AuditFilter(Input):
    """A record has to match every filter that is given. `event` may be like `credential.*`."""

    event: EventFilter = ""
    key: str = ""
    consumer: str = ""
    agent: str = ""
    credential: str = ""
    user: str = ""
    actor: str = ""
    decision: Literal["", "allowed", "denied", "shadow"] = ""

    @property
    def filters(self) -> Filters:
        return filters_of(self.model_dump(include=set(FILTERS)))


class AuditQuery(AuditFilter):
    before: Annotated[str, Field(pattern=_ENTRY)] = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class TailQuery(AuditFilter):
    """`after`: the id of the last event that was seen, as in `Last-Event-ID`. Without it the tail
    begins now."""

    after: Annotated[str, Field(pattern=_ENTRY)] = ""


class ExportQuery(AuditFilter):
    """What was written from `since` on and before `until`: `2h` (ago), a date or Unix seconds.
    Without them, all records."""

    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""


class VerifyQuery(Input):
    since: Annotated[str, Field(max_length=40)] = ""
    limit: Annotated[int, Field(ge=1, le=MOST_VERIFIED)] = MOST_VERIFIED


@ROUTES.add("GET", "/audit", POWERS, AuditShape, query=AuditQuery)
async def records(backend: Backend, call: Call) -> Answer:
    """List audit records."""
    query: AuditQuery = call.query
    found = await search(backend.audit_store, query.filters, query.before, query.limit)
    return Answer(AuditShape(records=list(found.records), next=found.next, newest=found.newest))


@ROUTES.add(
    "GET", "/audit/tail", POWERS, str, query=TailQuery, headers=("Last-Event-ID",), media=EVENTS
)
async def tail(backend: Backend, call: Call) -> Answer:
    """Follow new audit records as server-sent events, until the key is closed."""
    query: TailQuery = call.query
    # A browser sends it when it reconnects.
    seen = checked(TailQuery, {"after": call.header(b"last-event-id")}).after
    after = seen or query.after
    events = await backend.audit_readers.follow(query.filters, after, _may_read(call))
    return Answer(pieces=events, media=EVENTS)


@ROUTES.add("GET", "/audit/export", POWERS, str, query=ExportQuery, media=LINES)
async def export(backend: Backend, call: Call) -> Answer:
    """Export audit records, oldest first, one JSON object a line."""
    query: ExportQuery = call.query
    now = int(backend.clock())
    since = since_second(query.since, now)
    until = until_second(query.until, since, now)
    lines = await backend.audit_readers.export(query.filters, since, until, _may_read(call))
    named = ("Content-Disposition", 'attachment; filename="audit.jsonl"')
    return Answer(pieces=lines, media=LINES, headers=(named,))


@ROUTES.add("GET", "/audit/verify", POWERS, Verdict, query=VerifyQuery)
async def verify(backend: Backend, call: Call) -> Answer:
    """Verify the chains of audit records, and show the first record that was changed."""
    query: VerifyQuery = call.query
    since = since_second(query.since, int(backend.clock()))
    return Answer(await backend.audit_verifier.verify(since, query.limit))


def _may_read(call: Call) -> MayRead:
    """Return a check of whether the reader's key may still read the audit."""

    async def may_read() -> bool:
        now = await call.caller.still()
        return now is not None and now.may(POWERS)

    return may_read
