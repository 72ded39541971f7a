"""Agents that answer as a test writes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

from gateway.domain.policies.snapshot import Upstream

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def agent_that(serve: Serve) -> AsyncIterator[Upstream]:
    """An agent that does exactly this with every connection."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Upstream("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


def says(answer: bytes, *, then_close: bool = True) -> Serve:
    """An agent that reads a head and answers these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not then_close:
                await reader.read()

    return serve
