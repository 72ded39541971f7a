"""Callers by hand, and listeners with short limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.domain.settings import ListenerLimits
from tests.flows.sockets import End
from tests.flows.world import World

LIMITS = ListenerLimits(head=0.5, body_idle=0.5, keep_alive=0.8, send_idle=0.5, body_rate=2000)


# The bound itself, and what a busy machine takes on top of it.
BOUND = 4.0


@asynccontextmanager
async def caller(
    world: World, *, read_ahead: int = 2**16, local: str = "127.0.0.1"
) -> AsyncIterator[End]:
    opened = asyncio.open_connection(*world.address, limit=read_ahead, local_addr=(local, 0))
    end = End(*await opened)
    try:
        yield end
    finally:
        end.writer.transport.abort()


async def head(world: World, line: str, *more: str) -> bytes:
    key = await world.issue()
    lines = (line, "Host: x", f"Authorization: Bearer {key.text}", *more)
    return "".join(f"{text}\r\n" for text in (*lines, "")).encode()


@asynccontextmanager
async def sending(end: End, piece: bytes, every: float = 0.0) -> AsyncIterator[None]:
    """Meanwhile `piece` is sent again and again, for as long as the other side takes it."""

    async def send() -> None:
        with suppress(ConnectionError):
            while not end.writer.is_closing():
                end.send(piece)
                await end.writer.drain()
                await asyncio.sleep(every)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
