"""Who may call which tool, in whose session, for which user: what is refused, and how."""

import asyncio
import json
from itertools import product
from typing import Any

import pytest
from aiohttp import web

from tests.flows.agents import agent_that, says
from tests.flows.audit import come, records
from tests.flows.services import backend, keep
from tests.flows.tools import (
    TOKEN,
    Servers,
    call,
    client,
    code,
    error,
    event_ids,
    hello,
    messages,
    opened,
    put_tools,
    request,
    send,
    servers,
    vault,
)
from tests.flows.world import Answer, World, new_world
from tests.services.vaults import Vault

__all__ = ["servers", "vault"]

# Scopes.


async def test_tools_list_shows_a_key_what_it_may_call_and_nothing_else(
    world: World, vault: Vault, servers: Servers
) -> None:
    key = await world.issue("tools/fc:whoami", "tools/fc:fail", "agents/*", users=("*",))
    for kind, mode in product(("json", "events"), ("auto", "legacy")):
        put_tools(world, servers.url(kind))
        async with client(world, key, mode=mode) as mcp:
            names = [tool.name for tool in (await mcp.list_tools()).tools]
            assert names == ["whoami", "fail"], (kind, mode)
            assert (await mcp.call_tool("whoami", {})).is_error is False


async def test_a_tool_that_a_key_may_not_call_looks_like_one_that_is_not_there(
    world: World, vault: Vault
) -> None:
    key = await world.issue("tools/fc:whoami", users=("u1",))
    headers = await opened(world, key)
    told = []
    for name in ("spill", "nosuch"):
        answer = await send(world, key, call(name), headers=headers)
        assert code(answer) == (403, "scope_denied")
        told.append(answer.body.decode().replace(name, "…").replace(_ids(answer), ""))
    assert told[0] == told[1]
    assert "tools/fc:…" in told[0]


async def test_a_call_that_is_refused_is_on_record_with_its_tool_and_its_user(
    world: World, vault: Vault
) -> None:
    key = await world.issue("tools/fc:whoami", users=("u1",))
    await send(world, key, call("spill"), headers=await opened(world, key))
    (one,) = await come(world, "request.denied", 1)
    assert (one["code"], one["agent"]) == ("scope_denied", "tools/fc")
    assert (one["tool"], one["user"], one["key_id"]) == ("spill", "u1", key.id)
    await send(world, key, call("whoami"), "u2")
    await send(world, key, call(f"as {key.text}"))
    _, two, three = await come(world, "request.denied", 3)
    assert (two["code"], two["tool"], two["user"]) == ("user_denied", "whoami", "u2")
    assert (three["code"], three["tool"]) == ("scope_denied", f"as agk_live_{key.id}_…")


def _ids(answer: Answer) -> str:
    return str(answer.headers["X-Request-Id"])


@pytest.mark.parametrize("name", ["Spill", "spill ", "spi\u017fl", "*", "sp\u0131ll"])
async def test_a_tool_is_the_one_that_is_spelled_so_and_no_other(
    world: World, vault: Vault, name: str
) -> None:
    key = await world.issue("tools/fc:spill", "tools/fc:whoami", users=("u1",))
    answer = await send(world, key, call(name), headers=await opened(world, key))
    assert code(answer) == (403, "scope_denied")


METHODS = {
    "ping": "tools/fc:whoami",
    "tools/list": "tools/fc:whoami",
    "logging/setLevel": "tools/fc:whoami",
    "resources/list": "tools/fc:*",
    "resources/read": "tools/fc:*",
    "prompts/get": "tools/fc:*",
    "completion/complete": "tools/fc:*",
    "tasks/result": "tools/fc:*",
    "something/new": "tools/fc:*",
}


@pytest.mark.parametrize("method", METHODS)
async def test_what_is_no_tool_is_for_keys_that_may_do_everything_there(
    world: World, vault: Vault, method: str
) -> None:
    single = await world.issue("tools/fc:whoami", users=("u1",))
    other = await world.issue("tools/other", users=("u1",))
    whole = await world.issue("tools/fc", users=("u1",))
    headers = await opened(world, single)
    answer = await send(world, single, request(method, uri="notes://today"), headers=headers)
    if METHODS[method] == "tools/fc:*":
        assert code(answer) == (403, "scope_denied")
        assert error(answer)["data"]["error"]["required_scope"] == "tools/fc:*"
    else:
        assert answer.status == 200
    assert code(await send(world, other, request(method))) == (403, "scope_denied")
    answer = await send(
        world, whole, request(method, uri="notes://today"), headers=await opened(world, whole)
    )
    assert answer.status == 200 or answer.json["error"]["code"] < 0


async def test_a_server_that_is_not_there_is_not_found_once_the_key_is_known(
    world: World, vault: Vault
) -> None:
    key = await world.issue("tools/*", users=("u1",))
    body = json.dumps(hello()).encode()
    for path in (
        "/tools/none/mcp",
        "/tools/fc/mcpx",
        "/tools/fc/x/mcp",
        "/tools/fc",
        "/tools//mcp",
    ):
        stranger = await world.call(None, path, "POST", data=body)
        if stranger.status != 400:
            assert code(stranger) == (401, "key_missing")
            assert code(await world.call(key, path, "POST", data=body)) == (404, "not_found")
    for path, method in product(("/tools/fc/mcp", "/tools/fc/mcp/"), ("PUT", "PATCH", "HEAD")):
        answer = await world.call(key, path, method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST, DELETE")


async def test_a_stranger_is_told_nothing_of_a_message(world: World, vault: Vault) -> None:
    """Whether all of it had come before the key was looked at is not to be seen."""
    for body in (b"{", b"[]", json.dumps(call("spill")).encode(), b""):
        for key, said in ((None, "key_missing"), ("agk_live_none", "key_invalid")):
            answer = await send(world, key, body)
            assert code(answer) == (401, said) and error(answer)["id"] is None


# Sessions.


async def test_a_session_belongs_to_the_key_and_the_user_that_opened_it(
    store: Any, client: Any, servers: Servers
) -> None:
    async with new_world(store, client, gateways=2) as world:
        made = Vault(world.client)
        for user in ("u1", "u2"):
            await keep(world, made, f"user/{user}/github", "api_key", value=TOKEN + user)
        put_tools(world, servers.url("json"))
        keys = [await world.issue("tools/fc", users=("u1", "u2")) for _ in range(2)]
        pairs = list(product(keys, ("u1", "u2")))
        sessions = {pair: await opened(world, *pair, gateway=0) for pair in pairs}
        for (owner, user), gateway in product(product(pairs, pairs), range(2)):
            headers = sessions[owner]
            ping = await send(world, user[0], request("ping"), user[1], headers, gateway=gateway)
            listen = (
                await send(world, user[0], None, user[1], headers, method="DELETE", gateway=gateway)
                if owner != user
                else None
            )
            if owner == user:
                assert ping.status == 200, ping.body
            else:
                assert code(ping) == (404, "not_found")
                assert listen is not None and code(listen) == (404, "not_found")
        nobody = await send(world, keys[0], request("ping"), None, sessions[pairs[0]])
        assert code(nobody)[0] in (404, 503)


async def test_a_session_is_not_shown_by_the_servers_own_name_and_ends_when_it_is_ended(
    world: World, vault: Vault
) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    headers = await opened(world, key)
    sealed = headers["Mcp-Session-Id"]
    assert len(sealed) > 60 and sealed.replace("-", "").replace("_", "").isalnum()
    for forged in (sealed[:-2] + "AA", "0" * 32, sealed + "x", "%00", "é"):
        answer = await send(world, key, request("ping"), headers={"Mcp-Session-Id": forged})
        assert code(answer) == (404, "not_found"), forged
    ended = await send(world, key, None, headers=headers, method="DELETE")
    assert ended.status in (200, 204)
    assert (await send(world, key, request("ping"), headers=headers)).status == 404


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        (b"Connection: close\r\n\r\n", 200),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 502),
        (b"Transfer-Encoding: chunked\r\n\r\n", 502),
    ],
)
async def test_an_answer_without_a_type_may_be_empty_and_nothing_else(
    world: World, ending: bytes, status: int
) -> None:
    """Servers of the official SDK for TypeScript end a session so."""
    async with agent_that(says(b"HTTP/1.1 200 OK\r\n" + ending)) as upstream:
        put_tools(world, f"http://127.0.0.1:{upstream.port}/mcp", inject={})
        key = await world.issue("tools/fc", users=("u1",))
        for message, method in ((None, "DELETE"), (request("notifications/initialized"), "POST")):
            answer = await send(world, key, message, method=method)
            assert answer.status == status
            assert answer.headers["Content-Length"] == str(len(answer.body))
            assert status != 200 or not answer.body


async def test_an_event_belongs_to_the_key_and_the_user_to_whom_it_was_shown(
    store: Any, client: Any, servers: Servers
) -> None:
    """The server goes on from any event that it is named, whoever's stream it was in."""
    async with new_world(store, client, gateways=2) as world:
        put_tools(world, servers.url(), inject={})
        keys = [await world.issue("tools/fc", users=("u1", "u2")) for _ in range(2)]
        pairs = list(product(keys, ("u1", "u2")))
        sessions = {pair: await opened(world, *pair, gateway=0) for pair in pairs}
        owner = pairs[0]
        told = await send(world, owner[0], call("whoami"), owner[1], sessions[owner])
        first = event_ids(told)[0]
        assert len(first) > 20
        for pair, gateway in product(pairs, range(2)):
            for named in (first, "1", sessions[pair]["Mcp-Session-Id"]):
                headers = {**sessions[pair], "Last-Event-ID": named}
                if pair == owner and named == first:
                    continue
                for method in ("GET", "DELETE"):
                    refused = await send(world, pair[0], None, pair[1], headers, method, gateway)
                    assert code(refused) == (404, "not_found"), (pair, named)
                    assert "Last-Event-ID" in error(refused)["message"]


RELATED = "io.modelcontextprotocol/related-task"


async def test_a_task_belongs_to_the_key_and_the_user_whose_call_it_is(
    store: Any, client: Any
) -> None:
    """The server shows any task to whoever names it; what it is named, callers do not learn."""
    task = {"taskId": "task-\u00fc\u4f60", "status": "working"}
    status = {"method": "notifications/tasks/status", "params": task}
    log = {"method": "notifications/message", "params": {"_meta": {RELATED: task}}}

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        asked = json.loads(body)
        results = {"tools/call": {"task": task}, "tasks/list": {"tasks": [task]}, "tasks/get": task}
        result = results.get(asked["method"], {"content": [], "_meta": {RELATED: task}})
        last = {"jsonrpc": "2.0", "id": asked.get("id"), "result": result}
        heard = {"method": "notifications/subscriptions/acknowledged", "params": asked["params"]}
        streams = {"tools/call": (status, log, last), "subscriptions/listen": (heard,)}
        if asked["method"] not in streams or "_meta" in asked["params"]:
            return web.json_response(last)
        events = "".join(f"data: {json.dumps(one)}\n\n" for one in streams[asked["method"]])
        return web.Response(text=events, content_type="text/event-stream")

    def naming(task_id: object) -> list[dict[str, Any]]:
        methods = ("tasks/get", "tasks/result", "tasks/cancel", "tasks/update")
        asked = [request(method, taskId=task_id) for method in methods]
        asked.append(call("x"))
        asked[-1]["params"]["_meta"] = {RELATED: {"taskId": task_id}}
        wanted = {"taskIds": [task_id]}
        return [*asked, request("subscriptions/listen", notifications=wanted)]

    async with new_world(store, client, gateways=2) as world, backend() as server:
        server.answer = answer
        put_tools(world, f"{server.url}/mcp", inject={})
        keys = [await world.issue("tools/fc", users=("u1", "u2")) for _ in range(2)]
        pairs = list(product(keys, ("u1", "u2")))
        owner = pairs[0]
        first, second, last = messages(await send(world, owner[0], call("x"), owner[1]))
        sealed = last["result"]["task"]["taskId"]
        assert sealed.isascii() and len(sealed) > 30
        assert first["params"]["taskId"] == second["params"]["_meta"][RELATED]["taskId"] == sealed
        for pair, gateway in product(pairs, range(2)):
            for named in (sealed, task["taskId"], sealed[:-2] + "AA", 7, ""):
                if pair == owner and named == sealed:
                    continue
                for asked in naming(named):
                    refused = await send(world, pair[0], asked, pair[1], gateway=gateway)
                    assert code(refused) == (404, "not_found"), (pair, asked)
                    assert "no such task" in error(refused)["message"]
        for asked, meant in zip(naming(sealed), naming(task["taskId"]), strict=True):
            told = await send(world, owner[0], asked, owner[1], gateway=1)
            assert json.loads(server.last.body) == meant and told.status == 200
            assert sealed in told.body.decode() and "task-" not in told.body.decode()
        listed = await send(world, owner[0], request("tasks/list"), owner[1])
        assert listed.json["result"]["tasks"] == [{**task, "taskId": sealed}]
        for odd in ({"taskid": sealed}, {"TaskId": "x"}, {"Notifications": {"taskIds": ["x"]}}):
            refused = await send(world, owner[0], request("tasks/get", **odd), owner[1])
            assert code(refused) == (400, "bad_request"), odd


async def test_a_callers_own_tasks_are_named_as_it_names_them(world: World, vault: Vault) -> None:
    """A server may ask for what takes long, too: that is a task of the caller's."""
    asks = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "mine"}}

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(text=f"data: {json.dumps(asks)}\n\n", content_type="text/event-stream")

    key = await world.issue("tools/fc", users=("u1",))
    async with backend() as server:
        server.answer = answer
        put_tools(world, f"{server.url}/mcp")
        (asked,) = messages(await send(world, key, None, method="GET"))
        assert asked == asks
        status = {"method": "notifications/tasks/status", "params": {"taskId": "mine"}}
        for said in ({"id": 1, "result": {"taskId": "mine"}}, status):
            await send(world, key, {"jsonrpc": "2.0", **said})
            assert json.loads(server.last.body) == {"jsonrpc": "2.0", **said}


async def test_a_revoked_key_has_no_session(world: World, vault: Vault) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    headers = await opened(world, key)
    await world.client.hset(world.record(key), "status", "revoked")
    assert code(await send(world, key, request("ping"), headers=headers)) == (401, "key_revoked")


# Users and their credentials.


async def test_the_user_is_who_the_header_names_whatever_an_argument_says(
    world: World, vault: Vault
) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    headers = await opened(world, key)
    asked = call("spill", how="plain", user="u2", user_id="u2", **{"X-User-Id": "u2"})
    asked["params"]["_meta"] = {"user": "u2", "X-User-Id": "u2"}
    answer = await send(world, key, asked, headers=headers)
    assert "[redacted:github] after" in answer.body.decode()
    assert code(await send(world, key, hello(), "u2")) == (403, "user_denied")
    for odd in ("u 1", "u1,u2", "../u2", "*"):
        assert code(await send(world, key, hello(), odd)) == (400, "bad_request")


async def test_a_missing_credential_is_named_and_nothing_runs(
    world: World, vault: Vault, servers: Servers
) -> None:
    key = await world.issue("tools/fc", users=("*",))
    answer = await send(world, key, call("whoami"), "u3")
    assert code(answer) == (503, "credential_unavailable")
    told = error(answer)
    assert told["data"]["error"]["credential"] == "user/u3/github"
    assert "'github'" in told["message"] and "'u3'" in told["message"] and told["id"] == 7
    nobody = await send(world, key, call("whoami"), None)
    assert code(nobody) == (503, "credential_unavailable")
    assert "X-User-Id" in error(nobody)["message"]


@pytest.mark.parametrize("user", ["u3", None])
async def test_who_has_brought_nothing_yet_may_greet_a_server_whose_calls_alone_take_it(
    user: str | None, world: World, vault: Vault, servers: Servers
) -> None:
    put_tools(world, servers.url("json"), inject={"arguments": {"token": "${user.github.value}"}})
    key = await world.issue("tools/fc", users=("*",))
    greeted = await send(world, key, hello(), user)
    assert greeted.status == 200
    headers = {"Mcp-Session-Id": greeted.headers["Mcp-Session-Id"]}
    listed = await send(world, key, request("tools/list"), user, headers=headers)
    assert "whoami" in listed.body.decode()
    called = await send(world, key, call("whoami"), user, headers=headers)
    assert code(called) == (503, "credential_unavailable")
    assert await records(world, "credential.use") == []


async def test_a_decoy_looks_like_a_credential_that_is_not_there_and_is_on_record(
    world: World, vault: Vault
) -> None:
    await vault.write("user/u5/github", type="canary")
    key = await world.issue("tools/fc", users=("*",))
    await keep(world, vault, "user/u7/github", "api_key", value=TOKEN)
    told = [await send(world, key, hello(), user) for user in ("u5", "u6")]
    assert [code(one) for one in told] == [(503, "credential_unavailable")] * 2
    texts = [
        one.body.decode().replace(_ids(one), "").replace(user, "")
        for one, user in zip(told, ("u5", "u6"), strict=True)
    ]
    assert texts[0] == texts[1]
    async with asyncio.timeout(10):
        while "canary.credential" not in str(await world.client.xrange("gw:audit")):
            await asyncio.sleep(0.02)


async def test_a_credential_that_is_too_short_to_be_kept_secret_is_not_used(
    world: World, vault: Vault
) -> None:
    await keep(world, vault, "user/u4/github", "api_key", value="short12")
    key = await world.issue("tools/fc", users=("*",))
    answer = await send(world, key, hello(), "u4")
    assert code(answer) == (503, "credential_unavailable")
    assert "shorter than 8" in error(answer)["message"]
    assert error(answer)["data"]["error"]["credential"] == "user/u4/github", (
        "as one that is missing"
    )
    assert "short12" not in answer.body.decode()


async def test_of_two_credentials_of_one_name_both_may_be_the_short_one(
    world: World, servers: Servers, vault: Vault
) -> None:
    await keep(world, vault, "github", "api_key", value=TOKEN)
    await keep(world, vault, "user/u4/github", "api_key", value="short12")
    both = {"X-Shared": "${credentials.github.value}", "X-Own": "${user.github.value}"}
    put_tools(world, servers.url("json"), inject={"headers": both})
    key = await world.issue("tools/fc", users=("*",))
    message = error(await send(world, key, hello(), "u4"))["message"]
    assert "github or user/u4/github is shorter than 8" in message
