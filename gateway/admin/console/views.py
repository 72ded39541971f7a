"""What each page shows and does. A page is a View here and a template beside it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.admin import change_keys, keys, policies, sight, vault
from gateway.admin.backend import Backend
from gateway.admin.console.render import bars
from gateway.admin.routing import Call, Caller, checked
from gateway.domain.credentials import TYPES
from gateway.domain.key_views import State

Sent = Mapping[str, str]
_FIELD = "field."
_NONE: Sent = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Seen:
    """A template and its values; `go`: another page instead."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    go: str | None = None


Show = Callable[[Backend, Caller, Sent, Sent], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class View:
    """`pattern`: of the path behind /console/. `writes`: it is sent a form."""

    pattern: re.Pattern[str]
    powers: tuple[str, ...]
    show: Show
    writes: bool = False


def _call(caller: Caller, parts: Sent = _NONE, query: Any = None, body: Any = None) -> Call:
    return Call(caller, parts, {}, query, body)


async def overview(backend: Backend, caller: Caller, _: Sent, __: Sent) -> Seen:
    async def top(by: str, what: str) -> list[tuple[str, int]]:
        asked = checked(sight.UsageQuery, {"by": by, "last": 24})
        told = (await sight.usage_totals(backend, _call(caller, query=asked))).data
        counted = [(name, getattr(one, what)) for name, one in told.names.items()]
        return sorted((pair for pair in counted if pair[1]), key=lambda pair: -pair[1])[:8]

    asked = sight.UsageQuery(last=24)
    told = (await sight.usage_series(backend, _call(caller, query=asked))).data
    points = [point.counts for point in told.points]
    figures = [
        ("Requests", sum(one.requests for one in points)),
        ("Refused", sum(one.denied for one in points)),
        ("Failed", sum(one.failed for one in points)),
        ("Tokens", sum(one.tokens for one in points)),
    ]
    return Seen(
        "overview",
        {
            "figures": figures,
            "bars": bars([one.requests for one in points]),
            "denials": await top("code", "denied"),
            "consumers": await top("consumer", "requests"),
            "agents": await top("agent", "requests"),
            "health": (await sight.health(backend, _call(caller))).data,
            "workers": (await sight.workers(backend, _call(caller))).data.workers,
        },
    )


async def list_keys(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    return await _keys(backend, caller, sent, None)


async def _keys(backend: Backend, caller: Caller, sent: Sent, issued: Any) -> Seen:
    asked = checked(keys.ListQuery, {name: value for name, value in sent.items() if value})
    told = (await keys.list_keys(backend, _call(caller, query=asked))).data
    return Seen(
        "keys",
        {
            "keys": told.keys,
            "next": told.next,
            "more": {"consumer": asked.consumer, "state": asked.state, "after": told.next},
            "asked": {"consumer": asked.consumer or "", "state": asked.state or ""},
            "states": [state.value for state in State],
            "plans": sorted(backend.policies().plans),
            "may_write": caller.may(change_keys.WRITE),
            "issued": issued,
        },
    )


async def make_key(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    given: dict[str, Any] = {
        name: sent[name] for name in ("consumer", "plan", "expires", "label") if sent.get(name)
    }
    given["scopes"] = sent.get("scopes", "").split()
    body = checked(change_keys.CreateBody, given | {"canary": "canary" in sent})
    issued = (await change_keys.create(backend, _call(caller, body=body))).data
    return await _keys(backend, caller, {}, issued)


async def show_key(backend: Backend, caller: Caller, parts: Sent, _: Sent) -> Seen:
    return await _key(backend, caller, parts, "")


async def _key(backend: Backend, caller: Caller, parts: Sent, said: str) -> Seen:
    usage = (await sight.usage_of_key(backend, _call(caller, parts, sight.KeyUsageQuery()))).data
    reached = (await keys.reach(backend, _call(caller, parts, keys.DaysQuery()))).data.reached
    return Seen(
        "key",
        {
            "key": (await keys.show(backend, _call(caller, parts))).data,
            "bars": bars([point.counts.requests for point in usage.points]),
            "reached": [(name, one.requests) for name, one in reached.items()],
            "may_write": caller.may(change_keys.WRITE),
            "said": said,
        },
    )


async def act_on_key(backend: Backend, caller: Caller, parts: Sent, sent: Sent) -> Seen:
    act = parts["act"]
    if act == "rotate":
        body = checked(change_keys.RotateBody, {"grace": sent.get("grace") or "0"})
        issued = (await change_keys.rotate(backend, _call(caller, parts, body=body))).data
        return await _keys(backend, caller, {"consumer": issued.consumer}, issued)
    handler = {
        "disable": change_keys.disable,
        "enable": change_keys.enable,
        "contain": change_keys.contain,
    }[act]
    told = (await handler(backend, _call(caller, parts, keys.DaysQuery()))).data
    return await _key(backend, caller, parts, f"{told.id}: {told.outcome}")


async def show_policies(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    asked = {name: sent.get(name, "") for name in ("method", "url", "key_id", "user")}
    explained = None
    if asked["url"]:
        body = checked(policies.ExplainBody, {k: v for k, v in asked.items() if v})
        explained = (await policies.explain(backend, _call(caller, body=body))).data
    return Seen(
        "policies",
        {
            "policies": (await policies.show(backend, _call(caller))).data,
            "asked": asked,
            "explained": explained,
            "may_reload": caller.may(()) and backend.live is not None,
        },
    )


async def reload_policies(backend: Backend, caller: Caller, _: Sent, __: Sent) -> Seen:
    await policies.reload(backend, _call(caller))
    return Seen("", go="policies")


async def list_credentials(backend: Backend, caller: Caller, _: Sent, __: Sent) -> Seen:
    told = (await vault.list_credentials(backend, _call(caller))).data
    single = [name for name, kind in TYPES.items() if kind.main == "value"]
    return Seen(
        "credentials",
        {
            "credentials": told.credentials,
            "last_error": told.last_error,
            "types": single,
            "may_write": caller.may(vault.WRITE),
        },
    )


async def keep_credential(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    given: dict[str, Any] = {"type": sent.get("type", ""), "fields": _fields(sent)}
    if sent.get("expires"):
        given["expires"] = sent["expires"]
    parts = {"name": sent.get("name", "")}
    await vault.put(backend, _call(caller, parts, body=checked(vault.SetBody, given)))
    return Seen("", go="credentials")


async def act_on_credential(backend: Backend, caller: Caller, parts: Sent, sent: Sent) -> Seen:
    if parts["act"] == "delete":
        await vault.delete(backend, _call(caller, parts))
    else:
        given = {"fields": _fields(sent), "grace": sent.get("grace") or "0"}
        body = checked(vault.RotateBody, given)
        await vault.rotate(backend, _call(caller, parts, body=body))
    return Seen("", go="credentials")


def _fields(sent: Sent) -> dict[str, str]:
    return {
        name.removeprefix(_FIELD): value
        for name, value in sent.items()
        if name.startswith(_FIELD) and value
    }


async def list_users(backend: Backend, caller: Caller, _: Sent, __: Sent) -> Seen:
    return await _users(backend, caller, None)


async def make_link(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    body = checked(vault.LinkBody, {"credentials": sent.get("credentials", "")})
    parts = {"user": sent.get("user", "")}
    return await _users(
        backend, caller, (await vault.link(backend, _call(caller, parts, body=body))).data
    )


async def _users(backend: Backend, caller: Caller, link: Any) -> Seen:
    told = (await vault.list_users(backend, _call(caller))).data
    values = {"users": told.users, "link": link, "may_write": caller.may(vault.WRITE)}
    return Seen("users", values)


async def show_audit(backend: Backend, caller: Caller, _: Sent, sent: Sent) -> Seen:
    asked = checked(sight.AuditQuery, {name: value for name, value in sent.items() if value})
    told = (await sight.audit(backend, _call(caller, query=asked))).data
    more = asked.model_dump() | {"before": told.next, "limit": None}
    records = [_record(one) for one in told.records]
    values = {"records": records, "next": told.next, "more": more, "asked": asked.model_dump()}
    return Seen("audit", values)


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    used = record.get("credentials")
    named = [_version(one) for one in used] if used else []
    told = ("event", "consumer", "actor", "key_id", "user", "code", "decision")
    texts = {name: str(record.get(name, "")) for name in told}
    ts = record.get("ts")
    when = ts if isinstance(ts, (int, float)) else None
    return {**texts, "ts": when, "credentials": " ".join(named), "count": record.get("count", 1)}


def _version(used: Mapping[str, Any]) -> str:
    """0: of no version in particular."""
    number = used.get("version")
    return f"{used.get('name')}@{number}" if number else str(used.get("name"))


_ID = r"(?P<id>[0-9A-Za-z]{12})"
_NAME = r"(?P<name>[a-z][a-z0-9_]{1,62})"


def _at(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


VIEWS = (
    View(_at(""), sight.READ, overview),
    View(_at("keys"), keys.READ, list_keys),
    View(_at("keys"), change_keys.WRITE, make_key, writes=True),
    View(_at(f"keys/{_ID}"), keys.READ, show_key),
    View(
        _at(f"keys/{_ID}/(?P<act>rotate|disable|enable|contain)"),
        change_keys.WRITE,
        act_on_key,
        writes=True,
    ),
    View(_at("policies"), ("read",), show_policies),
    View(_at("policies"), ("read",), show_policies, writes=True),
    View(_at("policies/reload"), (), reload_policies, writes=True),
    View(_at("credentials"), vault.READ, list_credentials),
    View(_at("credentials"), vault.WRITE, keep_credential, writes=True),
    View(
        _at(f"credentials/{_NAME}/(?P<act>rotate|delete)"),
        vault.WRITE,
        act_on_credential,
        writes=True,
    ),
    View(_at("users"), vault.READ, list_users),
    View(_at("users"), vault.WRITE, make_link, writes=True),
    View(_at("audit"), ("audit",), show_audit),
)
