"""An agent that streams and speaks WebSocket."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gateway.domain.policies.snapshot import Upstream
from tests.flows.world import World, listening

MEBIBYTE = 2**20


GO_ON: web.AppKey[asyncio.Queue[str]] = web.AppKey("go_on")


async def chat_app() -> web.Application:
    """An agent that streams as fast as it is told to, and talks over a WebSocket."""
    app = web.Application(client_max_size=2**40)
    app[GO_ON] = asyncio.Queue()

    async def events(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while event := await app[GO_ON].get():
            await answer.write(f"data: {event}\n\n".encode())
        return answer

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(int(request.query["mebibytes"])):
            await answer.write(b"x" * MEBIBYTE)
        return answer

    async def sink(request: web.Request) -> web.Response:
        length = 0
        async for piece in request.content.iter_any():
            length += len(piece)
        return web.json_response({"length": length})

    async def socket(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(protocols=("chat",), max_msg_size=2**24)
        await ws.prepare(request)
        await ws.send_json([list(pair) for pair in request.headers.items()])
        async for message in ws:
            if message.data == "bye":
                await ws.close(code=4001, message=b"as you say")
            elif message.type is aiohttp.WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            else:
                await ws.send_str(f"echo {message.data}")
        return ws

    app.router.add_get("/events", events)
    app.router.add_get("/flood", flood)
    app.router.add_post("/sink", sink)
    app.router.add_get("/socket", socket)
    return app


@pytest.fixture
async def app(world: World) -> AsyncIterator[web.Application]:
    made = await chat_app()
    async with listening(made) as port:
        world.serve(world.agent("chat", upstream=Upstream("http", "127.0.0.1", port)))
        yield made
