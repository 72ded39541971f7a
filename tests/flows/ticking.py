"""A stream that goes on until somebody ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import StoreSettings
from tests.flows.world import World, listening, new_world

BOUND = 2.0


async def ticking(request: web.Request) -> web.StreamResponse:
    """An event every 20 ms, or with `?raw` bytes of no kind, for as long as somebody reads."""
    kind = "application/octet-stream" if "raw" in request.query else "text/event-stream"
    answer = web.StreamResponse(headers={"Content-Type": kind})
    await answer.prepare(request)
    with suppress(ConnectionError):
        while True:
            await answer.write(b"data: tick\n\n")
            await asyncio.sleep(0.02)
    return answer


async def chatting(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


@asynccontextmanager
async def ticking_world(store: StoreSettings, client: Redis, **fields: Any) -> AsyncIterator[World]:
    app = web.Application()
    app.router.add_get("/ticks", ticking)
    app.router.add_post("/chat/completions", ticking)
    app.router.add_get("/chat", chatting)
    async with listening(app) as port, new_world(store, client, gateways=2, **fields) as world:
        world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", port)))
        yield world


async def read_on(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """What still comes, and whether the answer was ended properly."""
    told = b""
    try:
        async for piece in answer.content.iter_any():
            told += piece
    except (aiohttp.ClientError, ConnectionError):
        # aiohttp keeps to itself what came in the same moment as a cut.
        answer.content._exception = None
        return told + answer.content.read_nowait(), False
    return told, True
