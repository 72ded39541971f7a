"""Trailers are checked for form and then dropped, both ways."""

import asyncio
from contextlib import closing, suppress

import aiohttp
import pytest

from gateway.domain.errors import Code
from tests.flows.agents import Serve, agent_that, says
from tests.flows.callers import caller, head
from tests.flows.leftovers import nothing_left
from tests.flows.raw import read_answer
from tests.flows.refusals import check
from tests.flows.world import World

WELL_FORMED = (
    b"X-A: b\r\n",
    b"X-A: b\r\nX-B:\r\n",
    b"Authorization: Bearer agk_live_x\r\nX-Gateway-Key-Id: me\r\n",
    b"Connection: close\r\n",
    b"Trailer: X-A\r\nCookie: a=b\r\n",
)
MALFORMED = {
    "no colon": b"X-A\r\n\r\n",
    "a blank before the colon": b"X-A : b\r\n\r\n",
    "no name": b": b\r\n\r\n",
    "folded": b"X-A: b\r\n c\r\n\r\n",
    "folded at once": b" X-A: b\r\n\r\n",
    "NUL": b"X-A: b\0c\r\n\r\n",
    "a control character": b"X-A: b\x01c\r\n\r\n",
    "bare CR": b"X-A: b\rc\r\n\r\n",
    "LF": b"X-A: b\n\r\n",
    "LF at the end": b"X-A: b\r\n\n",
    "a name that is none": b"X(A): b\r\n\r\n",
    "a length": b"Content-Length: 5\r\n\r\n",
    "a request": b"GET /agents/echo/x HTTP/1.1\r\n\r\n",
    "too many": b"X-A: b\r\n" * 1000 + b"\r\n",
    "too long": b"X-A: " + b"b" * 100_000 + b"\r\n\r\n",
}
CHUNKED = "Transfer-Encoding: chunked"
BODY = b"5\r\nhello\r\n0\r\n"


@pytest.mark.parametrize("trailers", WELL_FORMED)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_callers_trailers_reach_nobody(world: World, trailers: bytes, apart: bool) -> None:
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED, "TE: trailers"))
        end.send(BODY)
        if apart:
            await asyncio.sleep(0.05)
        end.send(trailers + b"\r\n")
        answer = await read_answer(end.reader)
        assert answer.json["body"] == "hello"
        assert not {"x-a", "x-b", "cookie", "trailer", "te"} & set(answer.received)
        assert len(answer.received["host"]) == 1
        assert answer.received["x-gateway-key-id"] != ["me"]


@pytest.mark.parametrize("trailers", [*WELL_FORMED, b"X-Leak: 0\r\n", b"X-Leak: a\n0\r\n\r\n"])
@pytest.mark.parametrize("how", ["at once", "one by one", "behind another", "in drops"])
async def test_a_trailer_is_never_a_header_of_the_request_that_follows(
    world: World, trailers: bytes, how: str
) -> None:
    """Whoever shares a connection to the gateway, behind a proxy, would speak for others."""
    first = await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED) + BODY + trailers + b"\r\n"
    follows = await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED) + BODY + b"\r\n"
    async with caller(world) as end:
        if how == "behind another":
            first = await head(world, "GET /agents/echo/x HTTP/1.1") + first
        if how == "in drops":
            for at in range(len(first)):
                end.send(first[at : at + 1])
                await asyncio.sleep(0.001)
        else:
            end.send(first)
        if how != "at once":
            await asyncio.sleep(0.05)
        with suppress(ConnectionError):
            end.send(follows)
            await end.writer.drain()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                answer = await read_answer(end.reader)
                if answer.status == 200:
                    assert not {"x-a", "x-b", "x-leak", "cookie"} & set(answer.received)
                    assert answer.received["x-gateway-key-id"] != ["me"]


async def test_chunked_requests_without_trailers_share_a_connection(world: World) -> None:
    whole = await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED) + BODY + b"\r\n"
    async with caller(world) as end:
        for cut in (len(whole), len(whole) - 20, len(whole) - 5, len(whole) - 1):
            end.send(whole[:cut])
            await asyncio.sleep(0.02)
            end.send(whole[cut:])
            answer = await read_answer(end.reader)
            assert answer.json["body"] == "hello"
            assert answer.headers.get("Connection") != "close"


async def recorded(world: World, data: bytes, apart: bytes = b"") -> tuple[bytes, bytes]:
    """What the agent saw of a request, and what the caller was told."""
    seen = b""

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        with closing(writer), suppress(ConnectionError):
            while piece := await reader.read(65536):
                seen += piece
                if b"0\r\n\r\n" in seen:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with agent_that(record) as upstream:
        world.serve(world.agent(upstream=upstream))
        async with nothing_left(world), caller(world) as end:
            end.send(await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED) + data)
            if apart:
                await asyncio.sleep(0.1)
                end.send(apart)
            told = await end.read_to_end()
    return seen, told


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_request_with_malformed_trailers_is_never_whole_to_the_agent(
    world: World, case: str, apart: bool
) -> None:
    first, then = (BODY, MALFORMED[case]) if apart else (BODY + MALFORMED[case], b"")
    seen, told = await recorded(world, first, then)
    assert b"0\r\n\r\n" not in seen
    assert told.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert told.count(b"HTTP/1.1 ") == 1


async def test_a_trailer_that_asks_for_an_upgrade_changes_nothing(world: World) -> None:
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with caller(world) as end:
        end.send(await head(world, "POST /agents/echo/x HTTP/1.1", CHUNKED) + BODY + upgrade)
        end.send(await head(world, "GET /agents/echo/next HTTP/1.1"))
        assert (await read_answer(end.reader)).json["body"] == "hello"
        async with asyncio.timeout(5):
            assert await end.reader.read() == b""


@pytest.mark.parametrize("trailers", WELL_FORMED)
async def test_an_agents_trailers_reach_nobody_and_the_answer_is_whole(
    world: World, trailers: bytes
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with agent_that(says(answer + BODY + trailers + b"\r\n")) as upstream:
        world.serve(world.agent(upstream=upstream))
        async with caller(world) as end:
            end.send(await head(world, "GET /agents/echo/x HTTP/1.1"))
            got = await end.reader.readuntil(b"0\r\n\r\n")
            assert got.endswith(b"5\r\nhello\r\n0\r\n\r\n")
            assert not [word for word in (b"X-A", b"Trailer", b"a=b") if word in got]


async def test_an_agents_trailer_is_no_header_of_its_next_answer(world: World) -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(BODY + b"X-A: b\r\nX-Leak: a\r\n\r\n")

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        for _ in range(3):
            answer = await world.call(key)
            assert answer.body == b"hello"
            assert not {"X-A", "X-Leak"} & set(answer.headers)
    assert accepted == 1


def in_pieces(*pieces: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()

    return serve


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("apart", [0, 1, 2])
async def test_an_answer_with_malformed_trailers_is_never_whole_to_the_caller(
    world: World, case: str, apart: int
) -> None:
    """All at once it is a 502; where the body has begun it is cut."""
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = MALFORMED[case]
    pieces = {
        0: (start + BODY + trailers,),
        1: (start + b"5\r\nhello\r\n", b"0\r\n" + trailers),
        2: (start, b"5\r\nhello\r\n0\r\n" + trailers),
    }[apart]
    async with agent_that(in_pieces(*pieces)) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        if apart == 0:
            check(await world.call(key), Code.UPSTREAM_PROTOCOL)
        else:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await world.call(key)
