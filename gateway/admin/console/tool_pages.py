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
    return await _tool(backend, caller, parts, sent, None)


async def make_link(backend: Backend, caller: Caller, parts: Params, sent: Params) -> Page:
    if not caller.may(tools.READ):
        # The answering page shows the tool; the users' page can make the same link.
        raise ApiError(403, "scope_denied", "Your key may not look at tools: use the users' page.")
    body = checked(vault.LinkBody, {"credentials": sent.get("credentials", "")})
    user = {"user": sent.get("user", "")}
    link = (await vault.link(backend, call_of(caller, user, body=body))).data
    return await _tool(backend, caller, parts, {}, link)


async def _tool(backend: Backend, caller: Caller, parts: Params, sent: Params, link: Any) -> Page:
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
        },
    )


_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
VIEWS = (
    View("tools", tools.READ, list_tools),
    View(f"tools/{_NAME}", tools.READ, show_tool),
    View(f"tools/{_NAME}/links", vault.WRITE, make_link, writes=True),
)
