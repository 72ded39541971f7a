"""However an agent's answer ends or disagrees with itself: it never looks whole where it is not,
never has two framings, and nobody else gets a byte of it."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.policies.snapshot import Timeouts, Upstream
from gateway.domain.settings import StoreSettings
from tests.flows.raw import PATIENCE, read_answer
from tests.flows.world import Answer, World, new_world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SIZED = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 12\r\n\r\nhello, world"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"7\r\nhello, \r\n5\r\nworld\r\n0\r\n\r\n"
)
RESET = struct.pack("ii", 1, 0)


@dataclass
class Scripted:
    """An agent that answers a request for `/N` with the first N bytes of `answer`, and then ends
    the connection; it answers anything else properly."""

    answer: bytes = OK
    reset: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ")[1].decode()
                self.asked.append(target)
                if target == "/ok":
                    writer.write(OK)
                    continue
                writer.write(self.answer[: int(target[1:])])
                await writer.drain()
                if self.reset:
                    # What was sent before a reset may be lost with it, unless it was read.
                    await asyncio.sleep(0.005)
                    sock: socket.socket = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return


@dataclass
class Scene:
    world: World
    agent: Scripted
    key: Key

    async def ask(self, target: str) -> Answer | None:
        """The whole answer; None where it was cut."""
        reader, writer = await asyncio.open_connection(*self.world.address)
        head = f"GET /agents/echo{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        with closing(writer):
            writer.write(f"{head}Authorization: Bearer {self.key.text}\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                try:
                    return await read_answer(reader)
                except (asyncio.IncompleteReadError, ConnectionError):
                    return None

    async def somebody_else_is_served(self) -> None:
        answer = await self.ask("/ok")
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"ok")


@pytest.fixture
async def scene(store: StoreSettings, client: Redis) -> AsyncIterator[Scene]:
    agent = Scripted()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    async with new_world(store, client) as world:
        upstream = Upstream("http", "127.0.0.1", agent.port)
        world.serve(world.agent(upstream=upstream, timeouts=Timeouts(first_byte=1.0, idle=1.0)))
        yield Scene(world, agent, await world.issue())
    server.close()


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_an_answer_cut_at_any_byte_never_looks_whole(
    scene: Scene, answer: bytes, reset: bool
) -> None:
    scene.agent.answer, scene.agent.reset = answer, reset
    for cut in range(len(answer)):
        got = await scene.ask(f"/{cut}")
        assert got is None or got.status == 502, cut
        if cut % 10 == 0:
            await scene.somebody_else_is_served()
    whole = await scene.ask(f"/{len(answer)}")
    assert whole is not None
    assert whole.body == b"hello, world"
    assert scene.agent.asked.count("/5") <= 2, "asked again only where not a byte was answered"


HELLO = b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5x\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nX-A\x00: b\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nX-A: b\x00\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nno colon\r\n" + HELLO,
        b"HTTP/1.1 20 OK\r\n" + HELLO,
        b"HTTP/1.1 1000 OK\r\n" + HELLO,
        b"HTTP/1.1 600 OK\r\n" + HELLO,
        b"HTTP/1.1 000 OK\r\n" + HELLO,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n" + HELLO,
        b"ICY 200 OK\r\n" + HELLO,
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000 + HELLO,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000 + OK,
    ],
)
async def test_nonsense_is_refused_or_passed_on_with_one_framing(scene: Scene, head: bytes) -> None:
    scene.agent.answer = head
    got = await scene.ask(f"/{len(head)}")
    if got is not None and got.status != 502:
        framing = [n.lower() for n in got.headers if re.match("(?i)content-length|transfer-", n)]
        assert len(framing) <= 1
        assert got.body in (b"hello", b"")
        assert "Set-Cookie" not in got.headers
    await scene.somebody_else_is_served()


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_trailers_and_what_follows_an_answer_reach_nobody(scene: Scene, status: int) -> None:
    body = b"" if status != 200 else b"5\r\nhello\r\n0\r\nSet-Cookie: evil\r\nX-T: 1\r\n\r\n"
    framing = b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n" if body else b""
    scene.agent.answer = b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, framing, body)
    got = await scene.ask(f"/{len(scene.agent.answer)}")
    assert got is not None
    assert (got.status, got.body) == (status, b"hello" if body else b"")
    assert not {"Set-Cookie", "X-T", "Trailer"} & set(got.headers)
    scene.agent.answer += b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    got = await scene.ask(f"/{len(scene.agent.answer)}")
    assert got is None or b"evil" not in got.body
    await scene.somebody_else_is_served()
