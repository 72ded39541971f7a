"""A caller that is too slow is told so and let go of; it holds nothing up for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.settings import ListenerLimits, StoreSettings
from tests.flows.raw import PATIENCE, read_answer
from tests.flows.refusals import check
from tests.flows.world import Answer, World, new_world

IMPATIENT = ListenerLimits(head=0.4, body_idle=0.4, keep_alive=0.4)


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client, limits=IMPATIENT) as made:
        yield made


async def dripped(world: World, begin: bytes, drip: bytes, pause: float) -> Answer:
    """The answer to a request whose rest never comes to an end; then the connection is closed."""
    reader, writer = await asyncio.open_connection(*world.address)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(pause)
            writer.write(drip)

    with closing(writer):
        writer.write(begin)
        dripping = asyncio.create_task(go_on())
        async with asyncio.timeout(PATIENCE):
            answer = await read_answer(reader)
            assert await reader.read() == b""
        dripping.cancel()
        return answer


@pytest.mark.denial("request_timeout")
@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET /", b"a"),
        (b"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
        (b"GET /agents/echo/x HTTP/1.1\r\nX-A: ", b"a"),
    ],
)
async def test_a_head_that_never_ends(world: World, begin: bytes, drip: bytes) -> None:
    """However often a little more of it comes."""
    check(await dripped(world, begin, drip, 0.05), Code.REQUEST_TIMEOUT)


@pytest.mark.denial("request_timeout")
@pytest.mark.parametrize(
    "framing", ["Content-Length: 100\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
)
async def test_a_body_that_stops_coming(world: World, framing: str) -> None:
    key = await world.issue()
    head = f"POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
    check(await dripped(world, (head + framing).encode(), b"", 5), Code.REQUEST_TIMEOUT)


@pytest.mark.parametrize("begin", [b"", b"\r\n\r\n"])
async def test_a_connection_that_says_nothing_is_closed(world: World, begin: bytes) -> None:
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(begin)
        async with asyncio.timeout(PATIENCE):
            answered = await reader.read()
    assert answered == b"" or answered.startswith(b"HTTP/1.1 408 ")


async def test_a_kept_connection_that_says_nothing_more_is_closed(world: World) -> None:
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert (await read_answer(reader)).status == 200
            assert await reader.read() == b""


async def test_many_slow_callers_are_all_let_go_of_and_hold_nobody_up(world: World) -> None:
    key = await world.issue()
    slow = [asyncio.create_task(dripped(world, b"GET /", b"x", 0.1)) for _ in range(200)]
    for _ in range(20):
        assert (await world.call(key)).status == 200
    for answer in await asyncio.gather(*slow):
        check(answer, Code.REQUEST_TIMEOUT)
    async with asyncio.timeout(PATIENCE):
        while len(world.gateways[0].data.connections) > 1:
            await asyncio.sleep(0.01)


async def test_a_body_that_keeps_coming_may_take_as_long_as_it_takes(world: World) -> None:
    key = await world.issue()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x"
            await asyncio.sleep(IMPATIENT.body_idle / 4)

    answer = await world.call(key, method="POST", data=pieces())
    assert answer.json["length"] == 8
