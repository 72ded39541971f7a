"""SSE and large bodies flow through, bounded in memory; a WebSocket is a tunnel."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.domain.errors import Code
from tests.flows.chat import GO_ON, MEBIBYTE
from tests.flows.chat import app as app
from tests.flows.memory import resident
from tests.flows.refusals import check
from tests.flows.world import Answer, World


async def test_an_event_arrives_before_the_next_one_is_made(
    world: World, app: web.Application
) -> None:
    key = await world.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    async with asyncio.timeout(10):
        app[GO_ON].put_nowait("first")
        async with world.session.get(f"{world.url}/agents/chat/events", headers=headers) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            for event in ("first", "second", "third"):
                assert await answer.content.readuntil(b"\n\n") == f"data: {event}\n\n".encode()
                app[GO_ON].put_nowait({"first": "second", "second": "third"}.get(event, ""))
            assert await answer.content.read() == b""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
async def test_a_large_answer_to_a_slow_reader_costs_little_memory(
    world: World, app: web.Application
) -> None:
    key = await world.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    url = f"{world.url}/agents/chat/flood?mebibytes=200"
    async with world.session.get(url, headers=headers) as answer:
        before = resident()
        length = 0
        async for piece in answer.content.iter_any():
            length += len(piece)
            assert resident() - before < 60 * MEBIBYTE
        assert length == 200 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
async def test_a_large_upload_costs_little_memory(world: World, app: web.Application) -> None:
    key = await world.issue()
    before = resident()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            assert resident() - before < 60 * MEBIBYTE
            yield b"x" * MEBIBYTE

    answer = await world.call(key, "/agents/chat/sink", "POST", data=pieces())
    assert answer.json["length"] == 200 * MEBIBYTE


async def test_a_websocket_carries_text_binary_and_close_codes(
    world: World, app: web.Application
) -> None:
    key = await world.issue()
    url = f"{world.url}/agents/chat/socket"
    headers = {"Authorization": f"Bearer {key.text}"}
    async with world.session.ws_connect(url, headers=headers, max_msg_size=2**24) as ws:
        received = {name.lower(): value for name, value in await ws.receive_json()}
        assert received["x-gateway-key-id"] == key.id
        assert key.text not in json.dumps(received)
        await ws.send_str("hello")
        assert await ws.receive_str() == "echo hello"
        large = bytes(range(256)) * 4096
        await ws.send_bytes(large)
        assert await ws.receive_bytes() == large
        await ws.send_str("bye")
        end = await ws.receive()
        assert (end.data, end.extra) == (4001, "as you say")


async def test_a_browser_offers_its_key_as_a_subprotocol(
    world: World, app: web.Application
) -> None:
    key = await world.issue()
    url = f"{world.url}/agents/chat/socket"
    async with world.session.ws_connect(url, protocols=("agk", f"agk.{key.text}")) as ws:
        assert ws.protocol == "agk", "a browser fails a handshake that answers with none"
        assert key.text not in json.dumps(await ws.receive_json())
    async with world.session.ws_connect(url, protocols=("agk", f"agk.{key.text}", "chat")) as ws:
        assert ws.protocol == "chat"


async def test_a_websocket_without_a_key_gets_the_same_refusal(
    world: World, app: web.Application
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.session.ws_connect(f"{world.url}/agents/chat/socket")
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "change",
    [
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Version": "12"},
        {"Content-Length": "3"},
    ],
)
async def test_half_a_handshake_is_refused(
    world: World, app: web.Application, change: dict[str, str]
) -> None:
    key = await world.issue()
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **change,
    }
    data = b"abc" if "Content-Length" in change else None
    answer = await world.call(key, "/agents/chat/socket", headers=headers, data=data)
    check(answer, Code.BAD_REQUEST)
    assert answer.headers["Sec-WebSocket-Version"] == "13"


async def test_any_other_upgrade_reaches_the_agent_as_plain_http(world: World) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAM"}
    answer: Answer = await world.call(await world.issue(), headers=headers)
    assert answer.status == 200
    assert not {"upgrade", "http2-settings", "connection"} & set(answer.received)


async def test_either_end_of_a_websocket_ends_the_other(world: World, app: web.Application) -> None:
    key = await world.issue()
    headers = {"Authorization": f"Bearer {key.text}"}
    ws = await world.session.ws_connect(f"{world.url}/agents/chat/socket", headers=headers)
    await ws.receive_json()
    await ws.close(code=1000)
    async with asyncio.timeout(10):
        while world.gateways[0].data.connections:
            await asyncio.wait([c.ended for c in world.gateways[0].data.connections])
