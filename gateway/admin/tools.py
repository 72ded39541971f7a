"""`/admin/v1/tools`: how each tool server runs and is used, and which users it can serve."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from gateway.admin.backend import Backend
from gateway.admin.paging import page_of
from gateway.admin.reach import DaysQuery
from gateway.admin.routing import Answer, Call, Input, Routes
from gateway.domain.credentials import CredentialId, parse_id
from gateway.domain.errors import MissingError
from gateway.domain.policies.snapshot import ToolServer
from gateway.domain.policies.tools import Toolset, Transport
from gateway.domain.usage import By, Counts, Step
from gateway.services.credentials.views import State
from gateway.services.telemetry.usage_reports import totals

READ = ("read",)
ROUTES = Routes()
_WORKING = frozenset({State.OK, State.EXPIRING})


class ToolShape(BaseModel):
    """A tool server. `upstream`: its URL, or the command line of a program.

    `isolation`: how its programs are isolated; empty if it is no program.
    `running`: its programs in the worker that answers. `scopes`: what keys need; `:*` if only the
    server knows its tools. `credentials` are shared, `of_users` are each user's own. `reflected`:
    answers from which a credential was removed.
    """

    name: str
    transport: Transport
    upstream: str
    isolation: str
    running: int
    scopes: list[str]
    credentials: list[str]
    of_users: list[str]
    counts: Counts
    reflected: int


class ToolList(BaseModel):
    """`counts` and `reflected` are of the requested days. `whole`: whether all audit records of
    these days were looked at. `problem`: why they could not be read."""

    tools: list[ToolShape]
    whole: bool
    problem: str


class ToolUser(BaseModel):
    """`has`: the user's working credentials. `broken`: those that do not work, with their state.
    `lacks`: those that are missing. `link_seconds`: how long a link of this user stays open; null
    if there is none."""

    user: str
    has: list[str]
    broken: dict[str, str]
    lacks: list[str]
    link_seconds: int | None


class ToolUsers(BaseModel):
    """Users who have a credential for any tool, or an open link."""

    users: list[ToolUser]
    next: str | None


class UsersQuery(Input):
    after: str = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@ROUTES.add("GET", "/tools", READ, ToolList, query=DaysQuery)
async def list_tools(backend: Backend, call: Call) -> Answer:
    """List tool servers with their use."""
    query: DaysQuery = call.query
    now = backend.clock()
    since = query.since(now)
    counted = await totals(backend.usage, By.AGENT, Step.DAY, since, now)
    reflected = await backend.look_back.reflections(since)
    running = backend.programs.servers.running()
    shapes = [
        _shape(
            backend,
            server,
            counted.get(server.place, Counts()),
            reflected.by_place.get(server.place, 0),
            running.get(name, 0),
        )
        for name, server in sorted(backend.policies().tools.items())
    ]
    return Answer(ToolList(tools=shapes, whole=reflected.whole, problem=reflected.problem))


@ROUTES.add("GET", "/tools/{name}/users", READ, ToolUsers, query=UsersQuery)
async def list_users(backend: Backend, call: Call) -> Answer:
    """List users with those of their credentials that a tool server needs."""
    query: UsersQuery = call.query
    wanted = _needed(_server(backend, call.parts["name"]), of_user=True)
    vault = backend.vault_for(call.caller.actor)
    waiting = await backend.links.waiting()
    brought = await vault.names()
    users = sorted({one.owner for one in brought if one.owner} | waiting.keys())
    page, more = page_of(users, str, query.after, query.limit)
    theirs = [one for one in brought if one.owner in page and one.name in wanted]
    states = {parse_id(view.name): view.state for view in await vault.views(theirs)}
    rows = [_user(user, wanted, states, waiting.get(user)) for user in page]
    return Answer(ToolUsers(users=rows, next=page[-1] if more else None))


def _user(
    user: str, wanted: list[str], states: Mapping[CredentialId, State], link_seconds: int | None
) -> ToolUser:
    every = {name: states.get(CredentialId(name, user)) for name in wanted}
    found = {name: state for name, state in every.items() if state is not None}
    return ToolUser(
        user=user,
        has=[name for name, state in found.items() if state in _WORKING],
        broken={name: state for name, state in found.items() if state not in _WORKING},
        lacks=[name for name in wanted if name not in found],
        link_seconds=link_seconds,
    )


def _shape(
    backend: Backend, server: ToolServer, counts: Counts, reflected: int, running: int
) -> ToolShape:
    tools = server.tools
    is_program = tools.transport is not Transport.HTTP
    isolation = backend.programs.launcher.isolation if is_program else None
    return ToolShape(
        name=server.name,
        transport=tools.transport,
        upstream=str(server.upstreams[0]) if server.upstreams else " ".join(tools.command),
        isolation=isolation or "",
        running=running,
        scopes=[f"tools/{server.name}:{name}" for name in _names(tools)],
        credentials=_needed(server, of_user=False),
        of_users=_needed(server, of_user=True),
        counts=counts,
        reflected=reflected,
    )


def _names(tools: Toolset) -> list[str]:
    return [tool.name for tool in tools.tools] or ["*"]


def _needed(server: ToolServer, *, of_user: bool) -> list[str]:
    references = server.inject.references
    return list(dict.fromkeys(one.name for one in references if one.of_user is of_user))


def _server(backend: Backend, name: str) -> ToolServer:
    server = backend.policies().tools.get(name)
    if server is None:
        raise MissingError(f"The policies have no tools {name!r}.")
    return server
