"""What a caller can cost is bounded, whatever it sends and however slowly; nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.keys.key import Key
from gateway.domain.policies.snapshot import Timeouts
from gateway.domain.settings import ListenerLimits, StoreSettings
from tests.flows.agents import agent_that
from tests.flows.callers import BOUND, LIMITS, caller, head, sending
from tests.flows.leftovers import descriptors, nothing_left
from tests.flows.memory import resident
from tests.flows.raw import read_answer
from tests.flows.refusals import check
from tests.flows.services import backend, put
from tests.flows.sockets import End
from tests.flows.world import Answer, World, new_world

TIMEOUTS = Timeouts(connect=0.5, first_byte=5, idle=5)


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client, limits=LIMITS) as made:
        made.serve(made.agent(timeouts=TIMEOUTS))
        async with nothing_left(made):
            yield made
            # The connections that this client keeps are no leftovers of the gateway.
            await made.session.close()


@asynccontextmanager
async def callers(
    world: World, count: int, *, local: str = "127.0.0.1"
) -> AsyncIterator[list[End]]:
    async with AsyncExitStack() as stack:
        opened = (caller(world, local=local) for _ in range(count))
        yield [await stack.enter_async_context(one) for one in opened]


def unsent(world: World) -> int:
    """Bytes that the gateway holds for callers that do not take them."""
    open_ones = world.gateways[0].data.connections
    return sum(c.transport.get_write_buffer_size() for c in open_ones if c.transport is not None)


async def hears(end: End, code: Code) -> None:
    """The refusal, and then the end of the connection."""
    async with asyncio.timeout(BOUND):
        check(await read_answer(end.reader), code)
        with suppress(ConnectionError):
            while await end.reader.read(65536):
                pass


async def is_closed(end: End) -> None:
    async with asyncio.timeout(BOUND):
        with suppress(ConnectionError):
            assert await end.reader.read() == b""


async def test_a_silent_connection_is_closed(world: World) -> None:
    async with caller(world) as end:
        await is_closed(end)


@pytest.mark.parametrize("start", [b"GET /", b"\r\nGET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_head_that_trickles_in_is_refused_in_time(world: World, start: bytes) -> None:
    async with caller(world) as end:
        end.send(start)
        async with sending(end, b"a", every=0.05):
            await hears(end, Code.REQUEST_TIMEOUT)


async def test_the_second_head_on_a_connection_has_no_more_time(world: World) -> None:
    async with caller(world) as end:
        end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
        assert (await read_answer(end.reader)).status == 200
        end.send(b"GET /agents/echo/")
        await hears(end, Code.REQUEST_TIMEOUT)


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("start", [b"", b"5\r\nhel"])
async def test_a_body_that_stops_is_refused_in_time(
    world: World, framing: str, start: bytes
) -> None:
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing) + start)
        await hears(end, Code.REQUEST_TIMEOUT)


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_body_that_trickles_in_is_refused_in_time(world: World, framing: str) -> None:
    """Each piece comes soon enough after the last one; all of them would take an hour."""
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing))
        async with sending(end, b"1\r\nx\r\n", every=0.05):
            await hears(end, Code.REQUEST_TIMEOUT)


async def test_a_body_that_takes_long_but_flows_arrives(world: World) -> None:
    size = 15 * 500
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", f"Content-Length: {size}"))
        for _ in range(15):
            end.send(b"x" * 500)
            await asyncio.sleep(0.1)
        assert (await read_answer(end.reader)).json["length"] == size


async def test_many_slow_callers_are_all_closed_in_time_and_a_good_one_is_served(
    world: World,
) -> None:
    starts = [
        b"",
        b"POST /agents/echo/x HT",
        await head(world, "POST /agents/echo/x HTTP/1.1", "Content-Length: 9") + b"12",
    ]
    async with callers(world, 150) as ends:
        for number, end in enumerate(ends):
            end.send(starts[number % 3])
        assert (await world.call(await world.issue())).status == 200
        async with asyncio.timeout(BOUND):
            for end in ends:
                with suppress(ConnectionError):
                    await end.reader.read()


FLOODS = {
    "a request line": (b"GET /" + b"a" * 60_000, b"a", Code.URL_TOO_LONG),
    "a header": (b"GET / HTTP/1.1\r\nX-A: ", b"a", Code.HEAD_TOO_LARGE),
    "a header's name": (b"GET / HTTP/1.1\r\n", b"a", Code.HEAD_TOO_LARGE),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n", Code.HEAD_TOO_LARGE),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_a_head_without_end_is_refused(world: World, case: str) -> None:
    start, more, code = FLOODS[case]
    async with caller(world) as end:
        end.send(start)
        async with sending(end, more * (50_000 // len(more))):
            await hears(end, code)


async def test_a_head_can_be_too_large_though_no_line_of_it_is(world: World) -> None:
    async with caller(world) as end:
        end.send(b"GET / HTTP/1.1\r\n" + (b"X-A: " + b"a" * 8000 + b"\r\n") * 20)
        await hears(end, Code.HEAD_TOO_LARGE)


CHUNKS = {
    "an extension": (b"5;", b"a"),
    "trailers": (b"0\r\n", b"X-A: b\r\n"),
    "one trailer": (b"0\r\nX-A: ", b"a"),
    "a size": (b"", b"0"),
}


@pytest.mark.parametrize("case", CHUNKS)
async def test_what_stands_beside_a_body_in_chunks_does_not_go_on_without_end(
    world: World, case: str
) -> None:
    """Nothing of it is body, so neither its length nor its pace bounds it."""
    start, more = CHUNKS[case]
    async with caller(world) as end:
        framing = "Transfer-Encoding: chunked"
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing) + start)
        before = resident()
        async with sending(end, more * (50_000 // len(more))):
            async with asyncio.timeout(BOUND):
                with suppress(ConnectionError):
                    assert b" 200 " not in await end.reader.read()
        assert resident() - before < 2**25


async def test_empty_lines_without_end_are_no_request(world: World) -> None:
    async with caller(world) as end, sending(end, b"\r\n" * 5000):
        async with asyncio.timeout(BOUND):
            with suppress(ConnectionError):
                assert b" 200 " not in await end.reader.read()


@pytest.mark.parametrize("framing", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
async def test_a_caller_that_goes_on_sending_can_still_read_that_it_is_too_much(
    world: World, framing: str
) -> None:
    world.serve(world.agent(timeouts=TIMEOUTS, max_body=1000))
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing))
        async with sending(end, b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n"):
            await hears(end, Code.BODY_TOO_LARGE)


async def test_a_thousand_idle_connections_are_closed_and_their_descriptors_are_back(
    store: StoreSettings, client: Redis
) -> None:
    limits = ListenerLimits(head=6.0, keep_alive=6.0)
    async with new_world(store, client, limits=limits) as world, nothing_left(world):
        before = descriptors()
        async with callers(world, 1000) as ends:
            # Half of them have been of use, which gives them the time of `keep_alive` instead.
            for end in ends[::2]:
                end.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            for end in ends[::2]:
                assert (await read_answer(end.reader)).status == 200
            assert len(world.gateways[0].data.connections) == 1000
            async with asyncio.timeout(6.0 + BOUND):
                for end in ends:
                    with suppress(ConnectionError):
                        assert await end.reader.read() == b""
        async with asyncio.timeout(BOUND):
            # The gateway's own lines to Redis may have been opened meanwhile.
            while descriptors() > before + 10:
                await asyncio.sleep(0.01)


async def test_bodies_that_are_held_whole_take_so_much_memory_and_half_of_it_for_one_key(
    store: StoreSettings, client: Redis
) -> None:
    """A plan binds nobody before its bodies are read."""
    limits = ListenerLimits(max_held=400_000)
    body = b'{"model":"local","x":"%b"}' % (b"x" * 200_000)
    async with (
        new_world(store, client, limits=limits) as world,
        backend() as there,
        nothing_left(world),
        callers(world, 3) as ends,
    ):
        model = f"{{name: local, provider: compatible, upstream: '{there.url}'}}"
        put(world, f"version: 1\nmodels:\n  - {model}\n")
        one, other = await world.issue("models/*"), await world.issue("models/*")

        async def asks(end: End, key: Key, sent: bytes) -> Answer:
            line = "POST /models/v1/completions HTTP/1.1"
            fields = ("Host: x", f"X-API-Key: {key.text}", f"Content-Length: {len(body)}", "\r\n")
            end.send("\r\n".join((line, *fields)).encode() + sent)
            return await read_answer(end.reader)

        half = body[:-10]
        asked = {asyncio.create_task(asks(end, one, half)): end for end in ends[:2]}
        (refused,), (waits,) = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        check(refused.result(), Code.BUSY)
        assert (await asks(ends[2], other, body)).status == 200
        asked[waits].send(body[-10:])
        assert (await waits).status == 200
        assert (await asks(ends[2], one, body)).status == 200, "what was held is given back"
        for end in ends:
            end.writer.close()


async def test_where_there_are_too_many_connections_an_idle_one_makes_room(
    store: StoreSettings, client: Redis
) -> None:
    limits = ListenerLimits(max_connections=2)
    async with (
        new_world(store, client, limits=limits) as world,
        nothing_left(world),
        callers(world, 2) as old,
        callers(world, 1) as new,
    ):
        new[0].send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(new[0].reader)).status == 200
        closed, _ = await asyncio.wait(
            [asyncio.create_task(end.reader.read()) for end in old],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=BOUND,
        )
        assert [task.result() for task in closed] == [b""]
        assert len(world.gateways[0].data.connections) == 2
        for end in old:
            end.writer.close()


async def test_where_all_connections_are_busy_a_new_one_is_closed_and_they_go_on(
    store: StoreSettings, client: Redis
) -> None:
    limits = ListenerLimits(max_connections=1)
    async with (
        new_world(store, client, limits=limits) as world,
        nothing_left(world),
        callers(world, 1) as busy,
    ):
        busy[0].send(b"GET /livez HTTP/1.1\r\n")
        async with asyncio.timeout(BOUND):
            while not any(one.busy for one in world.gateways[0].data.connections):
                await asyncio.sleep(0.01)
        async with callers(world, 1) as late:
            with suppress(ConnectionError):
                assert await late[0].reader.read() == b""
        busy[0].send(b"Host: x\r\n\r\n")
        assert (await read_answer(busy[0].reader)).status == 200


async def test_one_address_with_half_requests_in_every_place_keeps_nobody_out(
    store: StoreSettings, client: Redis
) -> None:
    limits = ListenerLimits(max_connections=100, head=60)
    async with (
        new_world(store, client, limits=limits) as world,
        nothing_left(world),
        callers(world, 90) as crowd,
        callers(world, 10, local="127.0.0.2") as others,
    ):
        connections = world.gateways[0].data.connections
        for end in (*crowd, *others):
            end.send(b"GET /livez HTTP/1.1\r\n")
        async with asyncio.timeout(BOUND):
            while sum(one.busy for one in connections) < 100:
                await asyncio.sleep(0.01)
            while True:
                async with callers(world, 1, local="127.0.0.3") as new:
                    new[0].send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                    with suppress(ConnectionError, asyncio.IncompleteReadError):
                        assert (await read_answer(new[0].reader)).status == 200
                        break
        for end in others:
            end.send(b"Host: x\r\n\r\n")
            assert (await read_answer(end.reader)).status == 200, "they are no crowd"
        async with asyncio.timeout(BOUND):
            for end in crowd:
                with suppress(ConnectionError):
                    assert await end.reader.read() == b""


async def test_fewer_bytes_than_were_announced_are_no_request(world: World) -> None:
    seen = b""

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                seen += data

    async with agent_that(record) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        cases = (
            ("Content-Length: 10", b"12345"),
            ("Transfer-Encoding: chunked", b"5\r\n12345\r\n"),
            ("Transfer-Encoding: chunked", b"a\r\n12345"),
        )
        for expected, (framing, part) in enumerate(cases, 1):
            async with caller(world) as end:
                end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing) + part)
                async with asyncio.timeout(BOUND):
                    while seen.count(b"12345") < expected:
                        await asyncio.sleep(0.01)
                end.writer.write_eof()
                await is_closed(end)
    assert seen.count(b"POST /x HTTP/1.1") == 3
    assert b"0\r\n\r\n" not in seen
    assert seen.count(b"12345") == 3


async def test_more_bytes_than_were_announced_are_another_request_and_a_bad_one(
    world: World,
) -> None:
    announced = await head(world, "POST /agents/echo/x HTTP/1.1", "Content-Length: 5")
    async with caller(world) as end:
        end.send(announced + b"12345 and more\r\n\r\n")
        assert (await read_answer(end.reader)).json["body"] == "12345"
        await hears(end, Code.BAD_REQUEST)


async def test_a_caller_that_never_reads_is_given_up(world: World) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

    async with agent_that(flood) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        async with caller(world, read_ahead=1024) as end, nothing_left(world):
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("then", ["X-A: b", "Connection: close"])
async def test_a_caller_that_never_reads_the_last_bytes_is_given_up_too(
    world: World, then: str
) -> None:
    """The answer is whole and nothing waits for it to be read, but for the close."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not unsent(world):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    async with agent_that(answer) as upstream:
        world.serve(world.agent(timeouts=TIMEOUTS, upstream=upstream))
        async with caller(world, read_ahead=1024) as end, nothing_left(world):
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1", then))
            async with asyncio.timeout(BOUND):
                while not unsent(world):
                    await asyncio.sleep(0.01)


async def test_requests_whose_answers_nobody_reads_are_not_served_without_end(
    world: World,
) -> None:
    """Answers to strangers cost no quota, so their memory has to be bounded by itself."""
    requests = b"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    most = 0
    async with caller(world, read_ahead=1024) as end, sending(end, requests):
        async with asyncio.timeout(2 * BOUND):
            while world.gateways[0].data.connections:
                most = max(most, unsent(world))
                assert most < 2**18
                await asyncio.sleep(0.01)
    assert most > 0


async def test_requests_sent_all_at_once_are_answered_one_after_the_other(world: World) -> None:
    one = (await head(world, "GET /agents/echo/N HTTP/1.1")).decode()
    async with caller(world) as end:
        end.send("".join(one.replace("/N ", f"/{n} ") for n in range(300)).encode())
        for n in range(300):
            assert (await read_answer(end.reader)).json["path"] == f"/{n}"


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
async def test_a_caller_that_leaves_in_the_middle_of_its_upload_leaves_nothing(
    world: World, framing: str
) -> None:
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", framing) + b"5\r\nhello\r\n")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def waited_for(world: World) -> AsyncIterator[tuple[End, asyncio.Event]]:
    """A caller whose agent has begun an answer and goes on with it for ever; and the event of
    the agent's seeing the end."""
    left = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            await reader.read()
            left.set()

    async with agent_that(endless) as upstream:
        world.serve(world.agent(upstream=upstream, timeouts=TIMEOUTS))
        async with caller(world) as end:
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            await end.head()
            yield end, left


@pytest.mark.parametrize("more", [b"\r\n", b"GET /agents/echo/y HTTP/1.1\r\nHo"])
async def test_a_caller_that_leaves_is_noticed_though_more_came_from_it_than_its_request(
    world: World, more: bytes
) -> None:
    async with waited_for(world) as (end, left):
        end.send(more)
        await end.writer.drain()
        # What came is read before the end is, if anything is read at all.
        await asyncio.sleep(0.05)
        end.writer.close()
        async with asyncio.timeout(BOUND):
            await left.wait()


async def test_what_follows_a_request_is_not_kept_in_memory_without_end(world: World) -> None:
    async with waited_for(world) as (end, _):
        end.send(bytes(MUCH))
        assert await left_to_send(end) > MUCH / 2


async def test_an_upload_that_its_agent_does_not_take_is_not_kept_in_memory(world: World) -> None:
    async def take_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            await given_up.wait()

    given_up = asyncio.Event()
    async with agent_that(take_the_head) as upstream:
        world.serve(world.agent(upstream=upstream))
        async with caller(world) as end:
            length = f"Content-Length: {MUCH}"
            end.send(await head(world, "POST /agents/echo/x HTTP/1.1", length) + bytes(MUCH))
            assert await left_to_send(end) > MUCH / 2
        given_up.set()


MUCH = 2**25


async def left_to_send(end: End) -> int:
    """What nobody takes of what was sent: the sockets hold some, and the gateway hardly any."""
    waiting = [end.writer.transport.get_write_buffer_size()]
    while len(waiting) < 2 or waiting[-1] != waiting[-2]:
        await asyncio.sleep(0.1)
        waiting.append(end.writer.transport.get_write_buffer_size())
    return waiting[-1]
