"""The pages of tools: all servers, and one with its users."""

from typing import Any

from gateway.admin import tools, vault
from gateway.admin.backend import Backend
from gateway.admin.console.view import Page, Params, View, call_of, filled
from gateway.admin.reach import DaysQuery
from gateway.admin.routing import ApiError, Caller, checked


async def list_tools(backend: Backend, caller: Caller, _: Params, __: Params) -> Page:
    servers = (await tools.list_tools(backend, call_of(caller, query=DaysQuery()))).data
    return Page("tools", {"servers": servers})


async def show_tool(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    return await _tool(backend, caller, parts, sent)


async def make_link(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    _check_may_look(caller)
    body = checked(vault.LinkBody, {"credentials": sent.get("credentials", "")})
    user = {"user": sent.get("user", "")}
    link = (await vault.link(backend, call_of(caller, user, body=body))).data
    return await _tool(backend, caller, parts, {}, link=link)


async def end_links(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    _check_may_look(caller)
    user = {"user": sent.get("user", "")}
    ended = (await vault.end_links(backend, call_of(caller, user))).data
    return await _tool(backend, caller, parts, {}, ended=ended)


def _check_may_look(caller: Caller) -> None:
    """The answering page shows the tool; the users' page can make and end the same links."""
    if not caller.may(tools.READ):
        raise ApiError(403, "scope_denied", "Your key may not look at tools: use the users' page.")


async def _tool(
    backend: Backend,
    caller: Caller,
    parts: Params,
    sent: Params,
    link: Any = None,
    ended: Any = None,
) -> Page:
    servers = (await tools.list_tools(backend, call_of(caller, query=DaysQuery()))).data
    one = next((tool for tool in servers.tools if tool.name == parts["name"]), None)
    if one is None:
        raise ApiError(404, "not_found", f"The policies have no tools {parts['name']!r}.")
    asked = checked(tools.UsersQuery, filled(sent))
    users = (await tools.list_users(backend, call_of(caller, parts, asked))).data
    return Page(
        "tool",
        {
            "one": one,
            "servers": servers,
            "users": users.users,
            "next": users.next,
            "more": {"after": users.next},
            "may_link": caller.may(vault.WRITE),
            "link": link,
            "ended": ended,
        },
    )


_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
VIEWS = (
    View("tools", tools.READ, list_tools),
    View(f"tools/{_NAME}", tools.READ, show_tool),
    View(f"tools/{_NAME}/links", vault.WRITE, make_link, writes=True),
    View(f"tools/{_NAME}/end_links", vault.WRITE, end_links, writes=True),
)
