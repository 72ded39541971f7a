"""`/tools/<name>/mcp`: the official client with a key of the gateway, and a user who is named."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from mcp_types import ListRootsResult, Root

from gateway.domain.keys.key import Key
from tests.flows.services import backend
from tests.flows.tools import (
    BOTH,
    TOKEN,
    Servers,
    call,
    client,
    event_ids,
    key_of_u1,
    messages,
    opened,
    put_tools,
    said,
    send,
    servers,
    text,
)
from tests.flows.world import Answer, World

__all__ = ["servers"]

MODES = ("auto", "legacy")


@pytest.fixture
async def key(world: World, servers: Servers) -> Key:
    put_tools(world, servers.url())
    return await key_of_u1(world)


@pytest.mark.parametrize("kind", ["events", "json"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_calls_tools_unchanged(
    world: World, servers: Servers, key: Key, mode: str, kind: str
) -> None:
    put_tools(world, servers.url(kind))
    async with client(world, key, mode=mode) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert {"whoami", "spill", "fail"} <= names
        result = await mcp.call_tool("whoami", {"region": "eu"})
        assert result.structured_content["region"] == "eu"
        assert "authorization" in result.structured_content["headers"]
        assert not {"x-user-id", "x-gateway-user", "cookie"} & set(
            result.structured_content["headers"]
        )
        assert text(await mcp.call_tool("spill", {"how": "plain"})) == (
            "before [redacted:github] after"
        )
        assert (await mcp.list_prompts()).prompts[0].name == "greet"
        read = await mcp.read_resource("notes://today")
        assert "a note" in str(read)


async def test_a_server_that_takes_its_key_in_the_query_gets_it_there_and_it_does_not_come_back(
    world: World, key: Key
) -> None:
    async def echo(request: web.Request, _: bytes) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": 7, "result": {"url": request.path_qs}})

    async with backend() as server:
        server.answer = echo
        put_tools(world, f"{server.url}/mcp", inject={"query": {"apiKey": "${user.github}"}})
        sent = json.dumps(call("x")).encode()
        path = "/tools/fc/mcp?apikey=mine&a=1"
        told = await world.call(key, path, "POST", {**BOTH, "X-User-Id": "u1"}, sent)
        assert server.last.path == f"/mcp?a=1&apiKey={quote(TOKEN, safe='')}"
        assert said(told)["result"]["url"] == "/mcp?a=1&apiKey=[redacted:github]"


async def test_a_server_may_ask_the_caller_while_a_call_runs(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url())

    async def roots(_: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri="file:///work")])

    async with client(world, key, mode="legacy", list_roots_callback=roots) as mcp:
        assert text(await mcp.call_tool("ask", {})) == "file:///work"


async def test_a_stream_that_broke_off_is_taken_up_where_it_was(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url())
    headers = await opened(world, key)
    message = call("chatter")
    message["params"]["_meta"] = {"progressToken": 1}
    whole = await send(world, key, message, headers=headers)
    ids = event_ids(whole)
    resumed = {**BOTH, **headers, "X-User-Id": "u1", "Last-Event-ID": ids[1]}
    resumed["Authorization"] = f"Bearer {key.text}"
    url, read = f"{world.url}/tools/fc/mcp", b""
    async with asyncio.timeout(20), world.session.get(url, headers=resumed) as answer:
        # The server keeps it open for more.
        while not read.endswith(b"\n\n") or b'"result"' not in read:
            read += await answer.content.readany()
        again = Answer(answer.status, answer.headers, read)
    assert messages(again) == messages(whole)[1:]
    assert b"[redacted:github]" in read and TOKEN.encode() not in read


async def test_what_a_call_costs_is_one_request_and_its_scope_one_tool(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url("json"))
    single = await world.issue("tools/fc:whoami", users=("u1",), limits="quota=4/d")
    headers = await opened(world, single)
    for wanted in (403, 403, 200, 200, 429):
        answer = await send(
            world, single, call("fail" if wanted == 403 else "whoami"), headers=headers
        )
        assert answer.status == wanted
    assert answer.json["error"]["data"]["error"]["code"] == "quota_exhausted"
    assert answer.json["id"] == 7


async def test_a_body_that_comes_late_is_read_once_the_key_is_known(
    world: World, servers: Servers, key: Key
) -> None:
    put_tools(world, servers.url("json"))
    headers = await opened(world, key)
    body = json.dumps(call("whoami", region="x" * 300_000)).encode()

    async def slowly() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 50_000):
            yield body[at : at + 50_000]
            await asyncio.sleep(0.01)

    sent = {**BOTH, **headers, "X-User-Id": "u1"}
    answer = await world.call(key, "/tools/fc/mcp", "POST", sent, slowly())
    assert len(said(answer)["result"]["structuredContent"]["region"]) == 300_000
