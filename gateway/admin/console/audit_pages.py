"""The audit pages: search, follow, export and verify records."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from gateway.admin import audit
from gateway.admin.backend import Backend
from gateway.admin.console.view import Page, Params, View, call_of, filled
from gateway.admin.routing import Answer, Caller, checked
from gateway.domain.audit.events import EVENT_FILTERS
from gateway.domain.audit.record import END
from gateway.services.audit.verify import Verdict

# The end of the year 9999, after which Python has no dates.
_LAST_SECOND = 253_402_300_800


async def show(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    return await _records(backend, caller, sent, None)


async def verify(backend: Backend, caller: Caller, _: Params, __: Params) -> Page:
    verdict = (await audit.verify(backend, call_of(caller, query=audit.VerifyQuery()))).data
    return await _records(backend, caller, {}, verdict)


async def _records(backend: Backend, caller: Caller, sent: Params, verdict: Verdict | None) -> Page:
    asked = checked(audit.AuditQuery, filled(sent))
    found = (await audit.records(backend, call_of(caller, query=asked))).data
    filters = asked.model_dump(exclude={"before", "limit"})
    return Page(
        "audit",
        {
            # The record that only closes a writer's chain is left out: nobody did anything.
            "records": [
                _record(one) for one in found.records if asked.event or one.get("event") != END
            ],
            "next": found.next,
            "more": filters | {"before": found.next},
            "asked": filters,
            "events": EVENT_FILTERS,
            "query": urlencode(filled(filters)),
            "live": not asked.before,
            "newest": found.newest,
            "verdict": verdict,
        },
    )


async def tail(backend: Backend, caller: Caller, _: Params, sent: Params) -> Answer:
    asked = checked(audit.TailQuery, filled(sent))
    return await audit.tail(backend, call_of(caller, query=asked))


async def export(backend: Backend, caller: Caller, _: Params, sent: Params) -> Answer:
    asked = checked(audit.ExportQuery, filled(sent))
    return await audit.export(backend, call_of(caller, query=asked))


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a record that are shown. It may hold anything: others may write to the
    stream too."""
    used = record.get("credentials")
    uses = used if isinstance(used, list) else []
    named = [_version(one) for one in uses if isinstance(one, dict)]
    names = ("event", "consumer", "actor", "key_id", "agent", "tool", "user", "code", "decision")
    texts = {name: str(record.get(name, "")) for name in names}
    ts = record.get("ts")
    when = ts if isinstance(ts, int | float) and 0 <= ts < _LAST_SECOND else None
    return {**texts, "ts": when, "credentials": " ".join(named), "count": record.get("count", 1)}


def _version(used: Mapping[str, Any]) -> str:
    """The name and version of a credential; version 0 stands for no particular one."""
    number = used.get("version")
    return f"{used.get('name')}@{number}" if number else str(used.get("name"))


VIEWS = (
    View("audit", audit.POWERS, show),
    View("audit/verify", audit.POWERS, verify),
    View("audit/tail", audit.POWERS, tail),
    View("audit/export", audit.POWERS, export),
)
