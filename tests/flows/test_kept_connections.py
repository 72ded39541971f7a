"""A connection to an agent that is kept never carries anything from one caller to the next."""

import asyncio
from contextlib import closing, suppress

import pytest

from tests.flows.agents import agent_that
from tests.flows.raw import exchange, read_answer
from tests.flows.world import World

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "more",
    [
        b"HTTP/1.1 200 OK\r\nX-Foreign: 1\r\nX-Rest: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n",
        b"HTTP/1.1 ",
        b"\r\n\r\n",
        b"junk",
        OK,
    ],
)
async def test_what_an_agent_sends_beyond_an_answer_is_no_part_of_the_next(
    world: World, more: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + more)
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        for _ in range(3):
            answer = await world.call(key)
            assert answer.status == 502 if more == b"junk" else answer.body == b"ok"
            assert "X-Foreign" not in answer.headers


async def test_a_body_that_broke_off_is_never_completed_by_the_next_request(world: World) -> None:
    """The agent answers early and whole; only then does the caller's body turn out malformed."""
    connections: list[bytes] = []
    broken = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = len(connections)
        connections.append(b"")
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                connections[at] += data
                if at == 0:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
                    await broken.wait()
                    writer.write(b"34")
                else:
                    writer.write(OK)

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        head = f"POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
        reader, writer = await asyncio.open_connection(*world.address)
        with closing(writer):
            writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await reader.readuntil(b"12")
            writer.write(b"no chunk\r\n")
            with suppress(asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(0.3):
                    await reader.readexactly(1)
            broken.set()
            with suppress(ConnectionError):
                await reader.read()
        assert (await world.call(key)).body == b"ok"
    assert len(connections) == 2
    assert connections[0].count(b"HTTP/1.1") == 1
    assert b"0\r\n\r\n" not in connections[0]


async def test_the_next_request_on_a_connection_with_a_whole_answer_is_sent_on_it(
    world: World,
) -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        for _ in range(5):
            assert (await world.call(key)).body == b"ok"
    assert accepted == 1


async def test_an_upgrade_that_is_not_passed_on_still_has_its_body(world: World) -> None:
    key = await world.issue()
    head = (
        f"POST /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n"
        "Connection: upgrade\r\nUpgrade: h2c\r\n"
    ).encode()
    for framed in (
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ):
        answer = await exchange(world.address, head + framed)
        assert answer.json["body"] == "hello"
        assert "upgrade" not in answer.received
        assert (await world.call(key)).status == 200


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("", b""),
        ("Content-Length: 0\r\n", b""),
        ("Content-Length: 5\r\n", b"hello"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_client_that_asks_for_http_2_each_time_keeps_its_connection(
    world: World, framing: str, body: bytes, at_once: bool
) -> None:
    """Java's own does, where there is no TLS; it writes head and body one after the other."""
    key = await world.issue()
    head = (
        "POST /agents/echo/x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: x\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
        f"{framing}Authorization: Bearer {key.text}\r\n\r\n"
    ).encode()
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        for _ in range(3):
            for piece in [head + body] if at_once else [head, body]:
                writer.write(piece)
                await asyncio.sleep(0.05)
            answer = await read_answer(reader)
            assert answer.json.get("body", "") == ("hello" if body else "")
            assert "Connection" not in answer.headers


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("", b""),
        ("Content-Length: 5\r\n", b"hello"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_bytes_after_an_upgrade_that_was_not_passed_on_are_no_request(
    world: World, framing: str, body: bytes, at_once: bool
) -> None:
    key = await world.issue()
    request = (
        f"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.text}\r\n{{}}\r\n"
    )
    first = request.format(f"Connection: upgrade\r\nUpgrade: h2c\r\n{framing}").encode()
    rest = body + request.format("").encode()
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        for piece in [first + rest] if at_once or not body else [first, rest]:
            writer.write(piece)
            await asyncio.sleep(0.05)
        answer = await read_answer(reader)
        assert (answer.status, answer.headers.get("Connection")) == (200, "close")
        assert await reader.read() == b""


async def test_a_request_that_comes_while_one_that_asks_for_http_2_is_answered_is_read(
    world: World,
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                asked.set()
                await go_on.wait()
                writer.write(OK)

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        request = f"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {key.text}\r\n"
        reader, writer = await asyncio.open_connection(*world.address)
        with closing(writer):
            writer.write(f"{request}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n".encode())
            await asked.wait()
            writer.write(f"{request}\r\n".encode())
            await asyncio.sleep(0.05)
            go_on.set()
            for _ in range(2):
                assert (await read_answer(reader)).body == b"ok"


async def test_after_a_refused_websocket_the_connection_carries_nothing_more(world: World) -> None:
    handshake = (
        b"GET /agents/echo/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(*world.address)
    with closing(writer):
        writer.write(handshake)
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["Connection"]) == (401, "close")
        assert await reader.read() == b""


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        *(("GET", None, 200), ("GET", b"x", 502), ("POST", b"x", 502), ("POST", None, 502)),
        *(("PUT", None, 502), ("DELETE", None, 502)),
    ],
)
async def test_what_a_dying_connection_may_have_heard_is_sent_again_only_where_that_is_safe(
    world: World, method: str, body: bytes | None, status: int
) -> None:
    """The agent takes a second request on a connection that was kept, and hangs up."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            heard.append(await reader.readuntil(b"\r\n\r\n"))

    async with agent_that(serve) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue()
        assert (await world.call(key)).status == 200
        heard.clear()
        answer = await world.call(key, method=method, data=body)
        # The one that is sent again comes first on its connection, and is answered.
        assert (answer.status, len(heard)) == (status, 1)
