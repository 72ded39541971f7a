"""WebSockets by hand: raw frames from a caller and from an agent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.domain.keys.key import Key
from tests.flows.agents import agent_that
from tests.flows.world import World

PATIENCE = 10.0
NONCE = "dGhlIHNhbXBsZSBub25jZQ=="
# The example of RFC 6455, section 1.3.
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = (
    "GET /agents/chat/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {NONCE}\r\n{{more}}\r\n"
)
SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n{{more}}\r\n"
)


@dataclass
class End:
    """One end of a socket, with patience."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def read_to_end(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            data = b""
            try:
                while piece := await self.reader.read(65536):
                    data += piece
            except ConnectionError:
                # A reset hides from `read` what had come before it.
                data += bytes(self.reader._buffer)  # type: ignore[attr-defined]
            return data

    async def head(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")


@dataclass
class Pair:
    """A caller and an agent whose WebSocket is open."""

    caller: End
    agent: End


@asynccontextmanager
async def raw_agent(world: World, **fields: object) -> AsyncIterator[Callable[[], Awaitable[End]]]:
    """An agent `chat`; the function waits for the next connection to it."""
    accepted: asyncio.Queue[End] = asyncio.Queue()
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(End(reader, writer))
        await done.wait()
        writer.close()

    async def taken() -> End:
        async with asyncio.timeout(PATIENCE):
            return await accepted.get()

    async with agent_that(serve) as upstream:
        world.serve(world.agent("chat", upstream=upstream, **fields))
        try:
            yield taken
        finally:
            done.set()


@asynccontextmanager
async def dialled(
    world: World, more: str = "", then: bytes = b"", key: Key | None = None
) -> AsyncIterator[End]:
    """A caller that has sent its handshake, and `then` right after it."""
    key = key or await world.issue()
    end = End(*await asyncio.open_connection(*world.address))
    try:
        end.send(HANDSHAKE.format(key=key.text, more=more).encode() + then)
        yield end
    finally:
        end.writer.close()


@asynccontextmanager
async def opened(
    world: World, *, offer: str = "", chosen: str = "", key: Key | None = None, **fields: object
) -> AsyncIterator[Pair]:
    """Both ends of an open WebSocket; `offer` and `chosen` are header lines of the handshake."""
    async with raw_agent(world, **fields) as taken, dialled(world, offer, key=key) as caller:
        agent = await taken()
        await agent.head()
        agent.send(SWITCHING.format(more=chosen).encode())
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        yield Pair(caller, agent)
