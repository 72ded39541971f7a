"""The pages of credentials, and of users with credentials of their own."""

from itertools import chain
from typing import Any

from gateway.admin import change_keys, reach, vault
from gateway.admin.backend import Backend
from gateway.admin.console.view import (
    FIELD,
    Page,
    Params,
    Redirect,
    View,
    call_of,
    filled,
    items_of,
)
from gateway.admin.routing import Caller, checked
from gateway.domain.credentials import TYPES, CredentialId, CredentialType, parse_id
from gateway.domain.errors import MissingError

ROWS = 100
# For types whose fields have free names: `named.0` holds the name of the field `field.named.0`.
FREE_FIELDS = 4
_NAMED = "named."


async def list_credentials(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    listed = (await vault.list_credentials(backend, call_of(caller, query=_asked(sent)))).data
    kind = TYPES.get(sent.get("type", ""), TYPES["api_key"])
    return Page(
        "credentials",
        {
            "credentials": listed.credentials,
            **_found(sent, listed),
            "last_error": listed.last_error,
            **await _outcome(backend, caller, sent.get("changed", "")),
            "types": list(TYPES),
            "kind": kind.name,
            "chosen": "type" in sent,
            "fields": _fields(kind),
            "named": range(FREE_FIELDS if kind.free else 0),
            "may_write": caller.may(vault.WRITE),
        },
    )


def _asked(sent: Params) -> vault.SearchQuery:
    given = filled({name: sent.get(name) for name in ("search", "after")})
    return checked(vault.SearchQuery, {**given, "limit": ROWS})


def _found(sent: Params, listed: vault.CredentialList | vault.UserList) -> dict[str, Any]:
    search = sent.get("search", "")
    return {
        "searched": search,
        "on_one_page": not (search or sent.get("after") or listed.next),
        "next": listed.next,
        "more": {"search": search, "after": listed.next},
    }


async def _outcome(backend: Backend, caller: Caller, changed: str) -> dict[str, Any]:
    """Return what became of the credential `changed`. Looked up, because anybody could make a link
    that claims a change."""
    try:
        name = parse_id(changed)
    except ValueError:
        return {"changed": None, "gone": ""}
    parts = {"name": name.name, "user": name.owner}
    try:
        return {"changed": (await vault.show(backend, call_of(caller, parts))).data, "gone": ""}
    except MissingError:
        return {"changed": None, "gone": changed}


def _fields(kind: CredentialType) -> list[tuple[str, bool]]:
    """Return the fields of a form for this type, and whether each is required."""
    needed = kind.required or (() if kind.one_of or not kind.main else (kind.main,))
    others = dict.fromkeys((*chain.from_iterable(kind.one_of), *kind.optional))
    return [*((name, True) for name in needed), *((name, False) for name in others)]


async def show_credential(backend: Backend, caller: Caller, parts: Params, _: Params) -> Page:
    call = call_of(caller, parts, reach.DaysQuery())
    return _credential(caller, (await reach.of_credential(backend, call)).data, contained=False)


async def contain_credential(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    body = checked(reach.ContainBody, {"fields": items_of(sent, FIELD)})
    call = call_of(caller, parts, reach.DaysQuery(), body)
    return _credential(caller, (await reach.contain_credential(backend, call)).data, contained=True)


def _credential(caller: Caller, shape: reach.CredentialReach, *, contained: bool) -> Page:
    return Page(
        "credential",
        {
            "one": shape.credential,
            "reach": shape,
            "may_write": caller.may(vault.WRITE),
            "may_revoke": caller.may(change_keys.WRITE),
            "contained": contained,
        },
    )


async def keep_credential(backend: Backend, caller: Caller, _: Params, sent: Params) -> Redirect:
    given: dict[str, Any] = {"type": sent.get("type", ""), "fields": _given(sent)}
    if sent.get("expires"):
        given["expires"] = sent["expires"]
    parts = {"name": sent.get("name", "")}
    await vault.put(backend, call_of(caller, parts, body=checked(vault.SetBody, given)))
    return _to_list(parts)


def _given(sent: Params) -> dict[str, str]:
    names = items_of(sent, _NAMED)
    return {
        names.get(name.removeprefix(_NAMED), "") if name.startswith(_NAMED) else name: value
        for name, value in items_of(sent, FIELD).items()
    }


async def act_on_credential(
    backend: Backend, caller: Caller, parts: Params, sent: Params
) -> Redirect:
    if parts["act"] == "delete":
        await vault.delete(backend, call_of(caller, parts))
    else:
        given = {"fields": items_of(sent, FIELD), "grace": sent.get("grace") or "0"}
        body = checked(vault.RotateBody, given)
        await vault.rotate(backend, call_of(caller, parts, body=body))
    return _to_list(parts)


def _to_list(parts: Params) -> Redirect:
    """Go to the list, which reports the change of this credential."""
    return Redirect(f"credentials?changed={CredentialId(parts['name'], parts.get('user', ''))}")


async def list_users(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    return await _users(backend, caller, sent)


async def make_link(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    body = checked(vault.LinkBody, {"credentials": sent.get("credentials", "")})
    parts = {"user": sent.get("user", "")}
    link = (await vault.link(backend, call_of(caller, parts, body=body))).data
    return await _users(backend, caller, {}, link=link)


async def end_links(backend: Backend, caller: Caller, _: Params, sent: Params) -> Page:
    parts = {"user": sent.get("user", "")}
    ended = (await vault.end_links(backend, call_of(caller, parts))).data
    return await _users(backend, caller, {}, ended=ended)


async def _users(
    backend: Backend, caller: Caller, sent: Params, link: Any = None, ended: Any = None
) -> Page:
    listed = (await vault.list_users(backend, call_of(caller, query=_asked(sent)))).data
    values = {"users": listed.users, "may_write": caller.may(vault.WRITE)}
    return Page("users", {**values, "link": link, "ended": ended, **_found(sent, listed)})


_NAME = r"(?P<name>[a-z][a-z0-9_]{1,62})"
_OF_USER = rf"users/(?P<user>[A-Za-z0-9._@-]{{1,128}})/{_NAME}"
VIEWS = (
    View("credentials", vault.READ, list_credentials),
    View("credentials", vault.WRITE, keep_credential, writes=True),
    View(f"credentials/{_NAME}", vault.READ, show_credential),
    View(f"credentials/{_NAME}/contain", vault.WRITE, contain_credential, writes=True),
    View(
        f"credentials/{_NAME}/(?P<act>rotate|delete)",
        vault.WRITE,
        act_on_credential,
        writes=True,
    ),
    View("users", vault.READ, list_users),
    View("users", vault.WRITE, make_link, writes=True),
    View("users/end_links", vault.WRITE, end_links, writes=True),
    View(_OF_USER, vault.READ, show_credential),
    View(f"{_OF_USER}/(?P<act>delete)", vault.WRITE, act_on_credential, writes=True),
)
