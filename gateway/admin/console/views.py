"""The overview, the policies page, and the list of all pages: each is a View and a template."""

from gateway.admin import monitoring, policies
from gateway.admin.backend import Backend
from gateway.admin.console import audit_pages, credential_pages, key_pages, tool_pages
from gateway.admin.console.charts import bars, steps
from gateway.admin.console.view import Page, Params, View, call_of, filled
from gateway.admin.routing import Caller, checked

# In each ranking. The page reserves room for as many, so that nothing moves when it updates.
MOST_RANKED = 6
_FIGURES = (
    ("Requests", "requests"),
    ("Refused", "denied"),
    ("Failed", "failed"),
    ("Tokens", "tokens"),
)


async def overview(backend: Backend, caller: Caller, _: Params, __: Params) -> Page:
    async def top(by: str, what: str) -> list[tuple[str, int]]:
        asked = checked(monitoring.TotalsQuery, {"by": by, "last": 24})
        found = (await monitoring.usage_totals(backend, call_of(caller, query=asked))).data
        counted = [(name, getattr(one, what)) for name, one in found.names.items()]
        most_first = sorted((pair for pair in counted if pair[1]), key=lambda pair: -pair[1])
        return most_first[:MOST_RANKED]

    asked = monitoring.UsageQuery(last=24)
    points = (await monitoring.usage_series(backend, call_of(caller, query=asked))).data.points
    latency = (await monitoring.usage_latency(backend, call_of(caller, query=asked))).data
    figures = [
        (title, sum(getattr(point.counts, what) for point in points)) for title, what in _FIGURES
    ]
    health = (await monitoring.health(backend, call_of(caller))).data
    return Page(
        "overview",
        {
            "problems": _problems(backend, health),
            "figures": figures,
            "bars": bars([(point.at, point.counts.requests) for point in points]),
            "latency": latency.whole,
            "steps": steps(
                [point.at for point in latency.points],
                [point.first_byte and point.first_byte.p50 for point in latency.points],
                [point.first_byte and point.first_byte.p95 for point in latency.points],
            ),
            "denials": await top("code", "denied"),
            "consumers": await top("consumer", "requests"),
            "agents": await top("agent", "requests"),
            "health": health,
            "workers": (await monitoring.workers(backend, call_of(caller))).data.workers,
        },
    )


def _problems(backend: Backend, health: monitoring.HealthShape) -> list[dict[str, str]]:
    """Return the problems that an operator has to look at now, the worst first."""
    refused = backend.live.problems
    found = [
        ("This worker is not ready. Missing:", ", ".join(health.missing)),
        (
            "The audit could not be written: calls that need a credential are refused",
            health.audit_error,
        ),
        ("Last error of the vault", health.credentials_error),
        (
            "The policy files were refused; the previous policies stay in force",
            refused and str(refused[0]),
        ),
    ]
    return [{"what": what, "detail": str(detail)} for what, detail in found if detail]


async def show_policies(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    return await _policies(backend, caller, sent, "")


async def _policies(backend: Backend, caller: Caller, sent: Params, read: str) -> Page:
    """`read`: the outcome of reading the files again; empty if they were not read."""
    asked = {name: sent.get(name, "") for name in policies.ExplainBody.model_fields}
    explained = None
    if asked["url"]:
        body = checked(policies.ExplainBody, filled(asked))
        explained = (await policies.explain(backend, call_of(caller, body=body))).data
    return Page(
        "policies",
        {
            "policies": (await policies.show(backend, call_of(caller))).data,
            "asked": asked,
            "explained": explained,
            "read": read,
            "may_reload": caller.may(()),
        },
    )


async def reload_policies(backend: Backend, caller: Caller, _: Params, __: Params) -> Page:
    before = backend.policies().revision
    outcome = await policies.read_now(backend, call_of(caller))
    read = "unchanged" if outcome.revision == before else "taken"
    return await _policies(backend, caller, {}, read if outcome.taken else "refused")


VIEWS = (
    View("", monitoring.READ, overview),
    *key_pages.VIEWS,
    View("policies", ("read",), show_policies),
    View("policies", ("read",), show_policies, writes=True),
    View("policies/reload", (), reload_policies, writes=True),
    *credential_pages.VIEWS,
    *tool_pages.VIEWS,
    *audit_pages.VIEWS,
)
