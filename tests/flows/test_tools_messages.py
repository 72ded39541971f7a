"""What a message has to look like: its JSON, its headers, the page that it comes from."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tests.flows.raw import exchange
from tests.flows.services import backend
from tests.flows.tools import (
    LEGACY,
    MODERN,
    TOKEN,
    Servers,
    call,
    code,
    error,
    event_ids,
    headed,
    hello,
    modern,
    opened,
    put_tools,
    request,
    said,
    send,
    servers,
    vault,
)
from tests.flows.world import World
from tests.services.vaults import Vault

__all__ = ["servers", "vault"]

# Messages.


def _call(params: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%b}}' % params.encode()


BAD = {
    b"": -32700,
    b"{": -32700,
    b"\xff\xfe{\x00}\x00": -32700,
    b'"text"': -32600,
    b"[]": -32600,
    json.dumps([call("whoami")]).encode(): -32600,
    b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}': -32600,
    _call('"name":"whoami","name":"spill"'): -32600,
    _call('"name":"whoami","Name":"spill"'): -32600,
    b'{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping"}': -32600,
    _call('"name":"whoami","arguments":{"a":1,"a":2}'): -32600,
    _call('"name":"whoami","arguments":{"deep":[{"a":1,"a":1}]}'): -32600,
    _call('"name":"whoami","Arguments":{}'): -32600,
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{"name":"x"}}'.encode(): -32600,
    _call('"name":1'): -32602,
    _call('"name":""'): -32602,
    # What is called goes on record.
    _call(r'"name":"\ud800"'): -32602,
    _call(r'"name":"a\nb"'): -32602,
    _call(f'"name":"{"x" * 257}"'): -32602,
    _call(""): -32602,
    _call('"name":"whoami","arguments":[]'): -32602,
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}': -32602,
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}': -32700,
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}': -32700,
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}': -32600,
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}': -32600,
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}': -32600,
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}': -32600,
    b'{"jsonrpc":"2.0","id":1}': -32600,
    b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}': -32600,
    b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}': -32600,
    b"[" * 100_000: -32700,
}


@pytest.mark.parametrize("body", BAD)
async def test_a_message_that_two_readers_could_take_differently_is_refused_uncharged(
    world: World, vault: Vault, body: bytes
) -> None:
    key = await world.issue("tools/fc", users=("u1",), limits="rate=1/d")
    answer = await send(world, key, body)
    assert code(answer) == (400, "bad_request")
    assert error(answer)["code"] == BAD[body]
    assert (await send(world, key, hello())).status == 200


@pytest.mark.parametrize("given", [b"1" + b"0" * 30, rb'"\ud800"'], ids=["big", "half a pair"])
async def test_an_id_that_not_every_writer_can_write_is_told_in_every_refusal(
    world: World, vault: Vault, given: bytes
) -> None:
    key = await world.issue("tools/fc:whoami", users=("u1",))
    for params in ("", '"name":"spill"'):
        body = _call(params).replace(b'"id":1', b'"id":' + given)
        headers = {"X-User-Id": "u1"}
        async with asyncio.timeout(10):
            answer = await world.call(key, "/tools/fc/mcp", "POST", headers, body)
        assert answer.status in (400, 403)
        assert json.dumps(error(answer)["id"]).encode() == given


async def test_a_message_arrives_as_it_was_decided_on(world: World, vault: Vault) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    headers = await opened(world, key)
    odd = _call('"name":"who\\u0061mi"').replace(b":1,", b':"\\u0061",').replace(b"/", b"\\/")
    answer = await send(world, key, odd, headers=headers)
    assert answer.status == 200 and said(answer)["id"] == "a"


@pytest.mark.parametrize("path", ["/mcp/", "/mcp", "/", "/a/mcp/"])
async def test_a_server_is_called_at_the_path_that_is_written(
    world: World, vault: Vault, path: str
) -> None:
    """Some live at a path that ends in a slash, and redirect from the one without."""
    key = await world.issue("tools/fc", users=("u1",))
    async with backend() as server:
        put_tools(world, server.url + path)
        await send(world, key, call("x"))
        assert server.last.path == path


async def test_what_the_gateway_fills_in_is_given_by_nobody_else(
    world: World, vault: Vault
) -> None:
    """Nor under names that a server which ignores case takes for it, nor in a header."""
    key = await world.issue("tools/fc", users=("u1",))
    async with backend() as server:
        inject = {"arguments": {"access_key": "${user.github.value}"}}
        put_tools(world, f"{server.url}/mcp", inject=inject)
        given = {"access_key": "a", "Access_Key": "b", "acce\u017fs_\u212aey": "c", "region": "eu"}
        headers = {"Mcp-Param-Access_Key": "b", "MCP-PARAM-access-KEY": "b"}
        headers["Mcp-Param-Region"] = "eu"
        await send(world, key, call("x", **given), headers=headers)
        sent = json.loads(server.last.body)["params"]["arguments"]
        assert sent == {"access_key": TOKEN + "u1", "region": "eu"}
        passed = [name for name in server.last.headers if name.startswith("mcp-param-")]
        assert passed == ["mcp-param-region"]


async def test_a_message_that_is_too_long_is_refused(
    world: World, servers: Servers, vault: Vault
) -> None:
    put_tools(world, servers.url(), max_body="1KB")
    key = await world.issue("tools/fc", users=("u1",))
    answer = await send(world, key, call("whoami", region="x" * 2000))
    assert code(answer) == (413, "too_large")


# Revisions.


async def test_a_request_whose_head_cannot_be_read_is_refused_as_any_message_is(
    world: World,
) -> None:
    head = f"POST /tools/fc/mcp HTTP/1.1\r\nHost: x\r\nX: {'x' * 9000}\r\n\r\n"
    answer = await exchange(world.address, head.encode())
    assert code(answer) == (431, "too_large")
    assert error(answer)["id"] is None


async def test_the_stateless_revision_needs_no_session(world: World, vault: Vault) -> None:
    key = await world.issue("tools/fc:whoami", users=("u1",))
    listed = await send(world, key, modern(), headers=headed("tools/list"))
    assert [tool["name"] for tool in said(listed)["result"]["tools"]] == ["whoami"]
    assert said(listed)["result"].get("cacheScope", "private") == "private"
    message = modern("tools/call", name="whoami", arguments={})
    called = await send(world, key, message, headers=headed("tools/call", "whoami"))
    assert called.status == 200 and "result" in said(called), called.body
    encoded = await send(world, key, message, headers=headed("tools/call", "=?base64?d2hvYW1p?="))
    assert encoded.status == 200


MISMATCHED: list[tuple[dict[str, Any], dict[str, str]]] = [
    (modern("tools/call", name="whoami"), headed("tools/call", "spill")),
    (modern("tools/call", name="whoami"), headed("tools/list", "whoami")),
    (modern("tools/call", name="whoami"), headed("tools/call")),
    (modern("tools/call", name="whoami"), headed("tools/call", "=?base64?d2hvYW1q?=")),
    (modern("tools/call", name="whoami"), headed("tools/call", "=?base64?d2hvYW1p=?=")),
    (modern("tools/call", name="whoami"), headed("tools/call", "Whoami")),
    (modern("resources/read", uri="notes://today"), headed("resources/read", "notes://x")),
    (modern(), {"MCP-Protocol-Version": MODERN}),
    (modern(), headed("tools/list", version=LEGACY)),
    (modern(), {}),
    (request("tools/list"), headed("tools/list")),
    (call("whoami"), {"Mcp-Name": "spill"}),
    (call("whoami"), {"MCP-Protocol-Version": LEGACY, "Mcp-Method": "ping"}),
]


@pytest.mark.parametrize("number", range(len(MISMATCHED)))
async def test_headers_that_say_something_else_than_the_body_are_refused(
    world: World, vault: Vault, number: int
) -> None:
    message, headers = MISMATCHED[number]
    key = await world.issue("tools/fc", users=("u1",))
    answer = await send(world, key, message, headers=headers)
    assert code(answer) == (400, "bad_request")
    assert (error(answer)["code"], error(answer)["id"]) == (-32020, 7)


async def test_a_revision_that_nobody_knows_is_refused(world: World, vault: Vault) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    for version in ("1999-01-01", "2026-07-29", "2024-11-05", "x"):
        answer = await send(world, key, hello(), headers={"MCP-Protocol-Version": version})
        assert code(answer) == (400, "bad_request")
        told = error(answer)
        assert (told["code"], told["id"]) == (-32022, 7)
        assert told["data"]["requested"] == version
        assert told["data"]["supported"] == ["2026-07-28", "2025-11-25", "2025-06-18"]
    for version in ("2025-06-18", "2025-11-25"):
        answer = await send(world, key, hello(), headers={"MCP-Protocol-Version": version})
        assert answer.status == 200


def greeting(version: str) -> dict[str, Any]:
    message = hello()
    return {**message, "params": {**message["params"], "protocolVersion": version}}


@pytest.mark.parametrize(
    ("wanted", "agreed"),
    [
        ("2024-11-05", "2025-06-18"),
        ("2025-03-26", "2025-06-18"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
    ],
)
async def test_a_greeting_agrees_on_a_revision_that_the_gateway_serves(
    world: World, vault: Vault, wanted: str, agreed: str
) -> None:
    """Or each message after it would be refused."""
    key = await world.issue("tools/fc", users=("u1",))
    answer = await send(world, key, greeting(wanted))
    assert said(answer)["result"]["protocolVersion"] == agreed
    headers = {
        "Mcp-Session-Id": answer.headers["Mcp-Session-Id"],
        "MCP-Protocol-Version": agreed,
    }
    assert (await send(world, key, request("ping"), headers=headers)).status == 200


async def test_a_server_that_speaks_another_revision_is_not_greeted_in_vain(
    world: World, vault: Vault
) -> None:
    async def old(request: web.Request, body: bytes) -> web.Response:
        result = {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {}}
        return web.json_response({"jsonrpc": "2.0", "id": 7, "result": result})

    key = await world.issue("tools/fc", users=("u1",))
    async with backend() as server:
        server.answer = old
        put_tools(world, f"{server.url}/mcp", inject={})
        answer = await send(world, key, hello())
    assert code(answer) == (502, "upstream_protocol")
    assert "has to speak one of 2025-06-18, 2025-11-25" in error(answer)["message"]


async def test_a_server_sees_its_own_names_alone_and_what_was_read(
    world: World, vault: Vault
) -> None:
    """What is between a caller and the gateway, or tells of the bytes that were read, ends here."""
    key = await world.issue("tools/fc", users=("u1",))

    async def events(request: web.Request, body: bytes) -> web.Response:
        headers = {"Content-Type": "text/event-stream", "Mcp-Session-Id": "their-session"}
        told = b'id: their-event\ndata: {"jsonrpc":"2.0","id":7,"result":{}}\n\n'
        return web.Response(body=told, headers=headers)

    async with backend() as server:
        server.answer = events
        page = "https://app.example.com"
        put_tools(world, f"{server.url}/mcp", inject={}, origins=[page])
        first = await send(world, key, call("whoami"))
        (event,) = event_ids(first)
        sealed = {"Mcp-Session-Id": first.headers["Mcp-Session-Id"], "Last-Event-ID": event}
        between = {**sealed, "Origin": page}
        assert (await send(world, key, None, headers=between, method="GET")).status == 200
        heard = server.last.headers
        read = {"Content-Type": "application/xml; charset=utf-7", "Content-Encoding": "gzip"}
        assert (await send(world, key, call("whoami"), headers={**between, **read})).status == 200
        for got in (heard, server.last.headers):
            assert got["mcp-session-id"] == ["their-session"]
            assert got["last-event-id"] == ["their-event"]
            assert "origin" not in got and "content-encoding" not in got
        assert server.last.headers["content-type"] == ["application/json"]


# Pages.


@pytest.mark.denial("origin_denied")
async def test_a_page_calls_tools_only_where_its_origin_is_listed(
    world: World, servers: Servers, vault: Vault
) -> None:
    key = await world.issue("tools/fc", users=("u1",))
    page = {"Origin": "https://evil.example.com"}
    for path in ("/tools/fc/mcp", "/tools/none/mcp"):
        answer = await world.call(key, path, "POST", page, json.dumps(hello()).encode())
        assert code(answer) == (403, "origin_denied")
    put_tools(world, servers.url("json"), origins=["https://app.example.com"])
    assert code(await send(world, key, hello(), headers=page)) == (403, "origin_denied")
    assert code(await send(world, key, hello(), headers={"Origin": "null"}))[0] == 403
    page = {"Origin": "https://app.example.com"}
    answer = await send(world, key, hello(), headers=page)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]
    preflight = {**page, "Access-Control-Request-Method": "POST"}
    asked = await world.call(None, "/tools/fc/mcp", "OPTIONS", preflight)
    assert asked.status == 204
    assert "X-User-Id" in asked.headers["Access-Control-Allow-Headers"]
    refused = await send(world, None, hello(), headers=page)
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
