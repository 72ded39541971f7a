"""The pages of keys: the list, one key, acts on several."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from gateway.admin import bulk, change_keys, keys, monitoring, reach
from gateway.admin.backend import Backend
from gateway.admin.console.charts import bars
from gateway.admin.console.render import utc
from gateway.admin.console.view import Page, Params, Redirect, View, call_of, filled, items_of
from gateway.admin.routing import ApiError, Caller, checked
from gateway.crypto.draw import draw
from gateway.domain.credentials import WARN_SECONDS
from gateway.domain.errors import ChangedError, UsageError
from gateway.domain.keys.expiry import NEVER
from gateway.domain.keys.scopes import from_items
from gateway.domain.keys.views import KeyView, State
from gateway.domain.policies.unknown_names import unknown_name
from gateway.services.keys.bulk import Act

# The name of a checkbox begins so; the rest is the id of a key.
CHOSEN = "chosen."
MARKER_LENGTH = 24
# The search for the name that was meant compares each with all names of the policies.
MOST_ABSENT = 5
CHANGED_MEANWHILE = (
    "The key was changed meanwhile and is shown as it is now. The values below differ from your "
    "form: correct the form, then save it again."
)
_FILTERS = ("consumer", "scope", "state", "expiring_within")


async def list_keys(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page | Redirect:
    if key_id := sent.get("id", "").strip():
        if re.fullmatch(_ID, key_id) is None:
            raise UsageError("The id of a key is the 12 letters and digits after agk_live_.")
        return Redirect(f"keys/{key_id}")
    return await _keys(backend, caller, sent, None)


async def _keys(backend: Backend, caller: Caller, sent: Params, issued: Any) -> Page:
    asked = checked(keys.ListQuery, filled(sent))
    filters = {name: getattr(asked, name) or "" for name in _FILTERS}
    listed = (await keys.list_keys(backend, call_of(caller, query=asked))).data
    return Page(
        "keys",
        {
            "keys": listed.keys,
            "next": listed.next,
            "more": filters | {"after": listed.next},
            "asked": filters,
            # After a refused act, the same keys are shown again.
            "query": urlencode(filled(filters | {"after": asked.after})),
            "soon": backend.clock() + WARN_SECONDS,
            "marker": draw(MARKER_LENGTH),
            "states": [state.value for state in State],
            "plans": sorted(backend.policies().plans),
            "acts": [act.value for act in Act],
            "may_write": caller.may(change_keys.WRITE),
            "issued": issued,
            "absent": _absent(backend, issued.scopes if issued else ()),
        },
    )


async def make_key(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    written = ("consumer", "limits", "expires", "label")
    given = filled({name: sent.get(name) for name in written})
    if "plan" in sent:
        # The empty choice means no plan; without a choice, the default plan would apply.
        given["plan"] = sent["plan"]
    given |= {name: sent.get(name, "").split() for name in ("scopes", "users")}
    given["canary"] = "canary" in sent
    body = checked(change_keys.CreateBody, given, await backend.field_context())
    # The marker keeps a form that is sent twice from making two keys.
    call = call_of(caller, body=body, marker=sent.get("marker", ""))
    issued = (await change_keys.create(backend, call)).data
    return await _keys(backend, caller, {}, issued)


async def show_key(backend: Backend, caller: Caller, parts: Params, _: Params) -> Page:
    return await _key(backend, caller, parts, "")


async def _key(backend: Backend, caller: Caller, parts: Params, said: str) -> Page:
    usage = (
        await monitoring.usage_of_key(backend, call_of(caller, parts, monitoring.KeyUsageQuery()))
    ).data
    uses = (await reach.of_key(backend, call_of(caller, parts, reach.DaysQuery()))).data
    shown = await keys.show(backend, call_of(caller, parts))
    plans = {*backend.policies().plans, shown.data.plan or ""} - {""}
    return Page(
        "key",
        {
            "key": shown.data,
            "absent": _absent(backend, shown.data.scopes),
            "revision": dict(shown.headers)["ETag"],
            "form": _form_of(shown.data),
            "plans": sorted(plans),
            "bars": bars([(point.at, point.counts.requests) for point in usage.points]),
            "reach": uses,
            # A refused request has not reached the agent.
            "reached": [
                (name, one.requests - one.denied)
                for name, one in uses.reached.items()
                if one.requests > one.denied
            ],
            "may_write": caller.may(change_keys.WRITE),
            "said": said,
            "soon": backend.clock() + WARN_SECONDS,
            "marker": draw(MARKER_LENGTH),
        },
    )


def _absent(backend: Backend, scopes: Iterable[str]) -> dict[str, Any]:
    """Return what the scopes name and the policies in force do not have, and whether there is
    more."""
    policies = backend.policies()
    found = (unknown_name(scope, policies) for scope in from_items(scopes).scopes)
    names = list(islice(filter(None, found), MOST_ABSENT + 1))
    return {"names": names[:MOST_ABSENT], "more": len(names) > MOST_ABSENT}


def _form_of(key: KeyView) -> dict[str, str]:
    """The values that fill the form for changing a key."""
    return {
        "consumer": key.consumer,
        "scopes": " ".join(key.scopes),
        "plan": key.plan or "",
        "limits": key.limits,
        "users": " ".join(key.users),
        "label": key.label,
        "expires": utc(key.expires_at),
    }


async def change_key(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    async def differing() -> list[tuple[str, str]]:
        """Return the fields in which the form differs from the key, with the key's values."""
        form = _form_of((await keys.show(backend, call_of(caller, parts))).data)
        return [(name, had) for name, had in form.items() if sent.get(name, had) != had]

    # Unchanged fields are not validated: the key may have expired, or its plan may be gone.
    given: dict[str, Any] = {name: sent[name] for name, _ in await differing()}
    if not given:
        return await _key(backend, caller, parts, "unchanged")
    given |= {name: given[name].split() for name in ("scopes", "users") if name in given}
    if given.get("expires") == "":
        given["expires"] = NEVER
    body = checked(change_keys.UpdateBody, given, await backend.field_context())
    revision = sent.get("revision") or "none"
    try:
        await change_keys.update(backend, call_of(caller, parts, body=body, revision=revision))
    except ChangedError:
        has = [{"field": name, "message": had or "-"} for name, had in await differing()]
        raise ApiError(412, "changed", CHANGED_MEANWHILE, has) from None
    return await _key(backend, caller, parts, "changed")


async def act_on_key(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    act = parts["act"]
    if act == "rotate":
        body = checked(change_keys.RotateBody, {"grace": sent.get("grace") or "0"})
        call = call_of(caller, parts, body=body, marker=sent.get("marker", ""))
        issued = (await change_keys.rotate(backend, call)).data
        return await _keys(backend, caller, {"consumer": issued.consumer}, issued)
    handler = {
        "disable": change_keys.disable,
        "enable": change_keys.enable,
        "contain": reach.contain_key,
    }[act]
    change = (await handler(backend, call_of(caller, parts, reach.DaysQuery()))).data
    return await _key(backend, caller, parts, change.outcome)


async def act_on_many(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    """Show what the act would do, or, once that is confirmed, do it and show the outcome."""
    confirmed = "confirmed" in sent
    chosen = sorted(items_of(sent, CHOSEN))
    given: dict[str, Any] = {
        "act": sent.get("act", ""),
        "grace": sent.get("grace") or "0",
        "dry_run": not confirmed,
    }
    if sent.get("whole"):
        given |= {"consumer": sent["whole"], "after": sent.get("after", "")}
    elif chosen:
        given["ids"] = chosen
    else:
        raise UsageError("Choose at least one key first.")
    body = checked(bulk.BulkBody, given)
    call = call_of(caller, body=body, marker=sent.get("marker", ""))
    changes = (await bulk.bulk(backend, call)).data
    values = {
        "changes": changes,
        "asked": body,
        "able": [one for one in changes.results if one.outcome != "refused"],
        "confirmed": confirmed,
        "marker": draw(MARKER_LENGTH),
    }
    return Page("bulk", values)


_ID = r"(?P<id>[0-9A-Za-z]{12})"
_ACTS = "rotate|disable|enable|contain"
VIEWS = (
    View("keys", keys.READ, list_keys),
    View("keys", change_keys.WRITE, make_key, writes=True),
    View("keys/bulk", change_keys.WRITE, act_on_many, writes=True),
    View(f"keys/{_ID}", keys.READ, show_key),
    View(f"keys/{_ID}/change", change_keys.WRITE, change_key, writes=True),
    View(f"keys/{_ID}/(?P<act>{_ACTS})", change_keys.WRITE, act_on_key, writes=True),
)
