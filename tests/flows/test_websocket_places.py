"""Until when a WebSocket takes one of the places of its key's `concurrency`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from gateway.proxy.client import ClientConnection
from tests.flows.sockets import PATIENCE, Pair, opened
from tests.flows.world import World
from tests.protocol.http.frames import BINARY, CLOSE, frame

PIECE = frame(BINARY, b"x" * 20_000, masked=False)
END = frame(CLOSE, b"\x03\xe8", masked=False)
# Or the system would take megabytes for the caller.
LITTLE = 65_536


@asynccontextmanager
async def only_place(world: World) -> AsyncIterator[tuple[Pair, ClientConnection]]:
    """A WebSocket on the one place of its key, and its caller as the gateway has it."""
    key = await world.issue(limits="concurrency=1")
    async with opened(world, key=key) as pair:
        (held,) = world.gateways[0].data.connections
        assert held.transport is not None
        sending = held.transport.get_extra_info("socket")
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LITTLE)
        # So little is read ahead on this side that the gateway feels it.
        pair.caller.reader._limit = 1024  # type: ignore[attr-defined]
        yield pair, held


async def sent_until(pair: Pair, held: ClientConnection, *, paused: bool) -> bytes:
    """All that the agent said before it closed, for a caller that takes nothing: so much that some
    of it waits in the gateway, or that no more of it is read."""
    pieces = [END]
    async with asyncio.timeout(PATIENCE):
        while not (held.writing_paused if paused else held.unsent):
            pieces.insert(0, PIECE)
            pair.agent.send(PIECE)
            await pair.agent.writer.drain()
            await asyncio.sleep(0.01)
    pair.agent.send(END)
    pair.agent.writer.close()
    return b"".join(pieces)


async def places(client: Redis) -> int:
    return len([name async for name in client.scan_iter("*lease:*")])


async def given_back(client: Redis) -> None:
    async with asyncio.timeout(PATIENCE):
        while await places(client):
            await asyncio.sleep(0.01)


async def test_who_keeps_its_end_open_keeps_no_place_once_its_agent_has_closed(
    world: World, client: Redis
) -> None:
    async with only_place(world) as (pair, held):
        pair.agent.send(END)
        pair.agent.writer.close()
        await given_back(client)
        # Its end waits for a moment: a close at once might take away what it has not read.
        assert held.transport is not None
        assert await pair.caller.read_to_end() == END


async def test_who_keeps_its_end_open_keeps_no_place_once_it_was_cut(
    world: World, client: Redis
) -> None:
    async with only_place(world) as (pair, held):
        unmasked = frame(BINARY, b"x", masked=False)
        pair.caller.send(unmasked)
        await given_back(client)
        assert held.transport is not None
        assert await pair.caller.read_to_end() == frame(CLOSE, b"\x03\xea", masked=False)


async def test_a_slow_caller_keeps_no_place_once_little_is_left_and_gets_all_of_it(
    world: World, client: Redis
) -> None:
    async with only_place(world) as (pair, held):
        sent = await sent_until(pair, held, paused=False)
        await given_back(client)
        assert held.unsent
        assert await pair.caller.read_to_end() == sent


async def test_who_takes_nothing_of_much_keeps_its_place_until_it_does(
    world: World, client: Redis
) -> None:
    async with only_place(world) as (pair, held):
        sent = await sent_until(pair, held, paused=True)
        assert await places(client) == 1
        assert await pair.caller.read_to_end() == sent
        await given_back(client)
