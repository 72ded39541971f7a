"""What an agent can cost is bounded too, whatever it answers; nothing is left behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from io import BytesIO

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.policies.snapshot import Timeouts, Upstream
from gateway.domain.settings import StoreSettings
from tests.flows.agents import Serve, agent_that, says
from tests.flows.callers import BOUND, LIMITS, caller, head
from tests.flows.leftovers import nothing_left
from tests.flows.raw import read_answer
from tests.flows.refusals import check
from tests.flows.world import Answer, World, new_world

TIMEOUTS = Timeouts(connect=0.5, first_byte=0.5, idle=0.5)
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client, limits=LIMITS) as made, nothing_left(made):
        yield made
        # The connections that this client keeps are no leftovers of the gateway.
        await made.session.close()


async def ask(world: World, serve: Serve, method: str = "GET", data: bytes | None = None) -> Answer:
    """The answer to one request to an agent that does this, in bounded time."""
    async with agent_that(serve) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        async with asyncio.timeout(BOUND):
            body = None if data is None else BytesIO(data)
            return await world.call(await world.issue(), method=method, data=body)


async def is_cut(world: World, serve: Serve) -> None:
    """Something came, and then it could be seen that not everything did."""
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await ask(world, serve)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(ConnectionError):
        await reader.read(100)
        while await reader.read(65536):
            pass


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2)


def repeats(start: bytes, again: bytes, every: float = 0.0, times: int = 10_000) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(start)
            for _ in range(times):
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(every)

    return serve


@pytest.mark.parametrize("body", [None, b"x" * 10, b"x" * 10_000_000])
async def test_an_agent_that_never_answers(world: World, body: bytes | None) -> None:
    check(await ask(world, silent, "POST", body), Code.UPSTREAM_TIMEOUT)


async def test_an_agent_that_does_not_read_what_it_is_sent(world: World) -> None:
    check(await ask(world, deaf, "POST", b"x" * 50_000_000), Code.UPSTREAM_TIMEOUT)


async def test_an_agent_that_does_not_take_the_connection(world: World) -> None:
    """Its queue of connections is full, so the last one is never made."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(place)
            fillers.append(filler)
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=Upstream("http", *place)))
        async with asyncio.timeout(BOUND):
            check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", OK, OK + b"X-A: "])
async def test_a_head_that_trickles_in(world: World, start: bytes) -> None:
    check(await ask(world, repeats(start, b"a", every=0.05)), Code.UPSTREAM_TIMEOUT)


FLOODS = {
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "100s": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"a" * 1000),
    "a header": (OK + b"X-A: ", b"a" * 1000),
    "a header's name": (OK, b"a" * 1000),
    "headers": (OK, b"X-A: b\r\n" * 100),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_a_head_without_end(world: World, case: str) -> None:
    check(await ask(world, repeats(*FLOODS[case])), Code.UPSTREAM_PROTOCOL)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X-A: " + b"a" * 2**20 + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"X-A: b\r\n" * 20_000 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + OK + b"Content-Length: 0\r\n\r\n",
    ],
    ids=["a header of 1 MB", "20,000 headers", "2,000 interim answers"],
)
async def test_a_head_that_is_too_large(world: World, answer: bytes) -> None:
    check(await ask(world, says(answer)), Code.UPSTREAM_PROTOCOL)


async def test_an_answer_may_come_in_drips_as_long_as_it_flows(world: World) -> None:
    start = OK + b"Content-Length: 10\r\n\r\n"
    answer = await ask(world, repeats(start, b"a", every=0.1, times=10))
    assert answer.body == b"a" * 10


@pytest.mark.parametrize(
    "start",
    [
        OK + b"Content-Length: 10\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\na\r\nhello",
        OK + b"\r\nhello",
    ],
)
@pytest.mark.parametrize("stops", [True, False], ids=["falls silent", "is reset"])
async def test_an_answer_that_stops_is_cut(world: World, start: bytes, stops: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(start)
            await writer.drain()
            await asyncio.sleep(0.05)
            if stops:
                await reader.read()
            else:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()

    await is_cut(world, serve)


@pytest.mark.parametrize(
    "start",
    [
        OK + b"Content-Length: 10\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\na\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnot a chunk\r\n",
    ],
)
@pytest.mark.parametrize("upload", [False, True])
async def test_an_answer_that_is_cut_at_once_is_a_502_or_cut_and_never_whole(
    world: World, start: bytes, upload: bool
) -> None:
    """The end comes together with the beginning, while the caller may still be sending."""
    async with agent_that(says(start)) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        for _ in range(5):
            more = ("POST", "Content-Length: 100000") if upload else ("GET", "X-A: b")
            async with caller(world) as end:
                end.send(await head(world, f"{more[0]} /agents/echo/x HTTP/1.1", more[1]))
                end.send(b"x" * 10_000 if upload else b"")
                heard = await end.read_to_end()
            assert b"HTTP/1.1 502 " in heard or (
                heard.startswith(b"HTTP/1.1 200 ") and heard.count(b"HTTP/1.1") == 1
            )
            assert not heard.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("turns", range(1, 7))
@pytest.mark.parametrize("upload", [False, True])
async def test_an_answer_that_turns_bad_before_it_is_passed_on(
    world: World, turns: int, upload: bool
) -> None:
    """Head and bad chunk are two reads, so few turns of the loop apart that nobody has acted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(turns):
                await asyncio.sleep(0)
            writer.write(b"no chunk\r\n")
            await reader.read()

    async with agent_that(serve) as upstream, caller(world) as end:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        more = ("POST", "Content-Length: 100000") if upload else ("GET", "X-A: b")
        end.send(await head(world, f"{more[0]} /agents/echo/x HTTP/1.1", more[1]))
        heard = await end.read_to_end()
        assert b" 500 " not in heard
        assert not heard.endswith(b"0\r\n\r\n")


async def test_what_goes_beyond_the_announced_length_reaches_nobody(world: World) -> None:
    answer = await ask(world, says(OK + b"Content-Length: 5\r\n\r\nhello and more"))
    assert answer.status == 502


async def test_an_answer_before_the_body_was_sent_ends_the_upload(world: World) -> None:
    early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with agent_that(says(early, then_close=False)) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        async with caller(world) as end:
            length = "Content-Length: 100000000"
            end.send(await head(world, "POST /agents/echo/x HTTP/1.1", length) + b"x" * 100_000)
            answer = await read_answer(end.reader)
            assert (answer.status, answer.body) == (413, b"no")
            await end.read_to_end()


async def test_a_caller_that_leaves_in_the_middle_of_a_download_ends_it(world: World) -> None:
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        ended.set()

    async with agent_that(flood) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        async with caller(world) as end:
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            await end.read(100_000)
        async with asyncio.timeout(15):
            await ended.wait()


def hangs_until(release: asyncio.Event) -> Serve:
    """Then it answers."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            await release.wait()
            writer.write(EMPTY)

    return hang


async def test_an_agent_that_hangs_holds_up_nobody_who_calls_another(world: World) -> None:
    release = asyncio.Event()
    hang = hangs_until(release)
    async with agent_that(hang) as hanging, agent_that(says(EMPTY)) as fine:
        world.serve(world.agent("slow", upstream=hanging), world.agent(upstream=fine))
        key = await world.issue()
        waiting = [asyncio.create_task(world.call(key, "/agents/slow/x")) for _ in range(90)]
        async with asyncio.timeout(BOUND):
            while len(world.gateways[0].data.connections) < len(waiting):
                await asyncio.sleep(0.005)
            assert (await world.call(key)).status == 200
            assert not any(task.done() for task in waiting)
            release.set()
            assert {(await task).status for task in waiting} == {200}


@pytest.mark.parametrize("upstreams", (1, 2))
async def test_of_all_places_half_may_wait_for_one_agent(
    store: StoreSettings, client: Redis, upstreams: int
) -> None:
    release, limits = asyncio.Event(), replace(LIMITS, max_connections=8)
    hang = hangs_until(release)
    async with (
        new_world(store, client, limits=limits) as world,
        agent_that(hang) as one,
        agent_that(hang) as other,
        agent_that(says(EMPTY)) as fine,
        asyncio.timeout(BOUND),
    ):
        hanging = (one, other)[:upstreams]
        world.serve(world.agent("slow", upstreams=hanging), world.agent(upstream=fine))
        key = await world.issue()
        calls = {asyncio.create_task(world.call(key, "/agents/slow/x")) for _ in range(5)}
        (refused,), waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        check(refused.result(), Code.BUSY)
        assert (await world.call(key)).status == 200
        release.set()
        assert {(await one).status for one in waiting} == {200}
        for _ in range(5):
            assert (await world.call(key, "/agents/slow/x")).status == 200


async def test_whose_answer_has_begun_waits_no_more(store: StoreSettings, client: Redis) -> None:
    release, limits = asyncio.Event(), replace(LIMITS, max_connections=4)

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"\r\n")
            await release.wait()

    async with (
        new_world(store, client, limits=limits) as world,
        agent_that(begin) as streaming,
        AsyncExitStack() as stack,
    ):
        world.serve(world.agent(upstream=streaming))
        for _ in range(3):
            end = await stack.enter_async_context(caller(world))
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            assert b" 200 " in await end.head()
        release.set()


async def test_after_all_of_it_the_next_request_is_served(world: World) -> None:
    for serve in (says(b""), says(b"junk"), says(OK + b"Content-Length: 5\r\n\r\nhel")):
        with suppress(aiohttp.ClientError):
            await ask(world, serve)
    answer = await ask(world, says(OK + b"Content-Length: 2\r\n\r\nok"))
    assert answer.body == b"ok"
