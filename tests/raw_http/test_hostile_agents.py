"""Two callers share connections to an agent that answers as it likes: each of them gets what was
answered to it, or a refusal, and never a byte of what belongs to the other or to nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.policies.snapshot import Timeouts, Upstream
from gateway.domain.settings import StoreSettings
from tests.flows.raw import PATIENCE, read_answer
from tests.flows.world import Answer, World, new_world

HONEST = b"HTTP/1.1 200 OK\r\nX-Nonce: {n}\r\nContent-Length: 6\r\n\r\n{n}"
EVIL = b"HTTP/1.1 200 OK\r\nX-Nonce: evil!!\r\nContent-Length: 6\r\n\r\nevil!!"
LF = HONEST.replace(b"\r\n", b"\n")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nX-Nonce: {n}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{n}\r\n0\r\n\r\n"
)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

# One write each, so that the gateway reads it as one piece.
PIECES = {
    "honest": HONEST,
    "chunked": CHUNKED,
    "bare LF": LF,
    "bare LF, then an empty line and the beginning of another": LF + b"\r\n\r\nHTTP/1",
    "bare LF, then another whole one": LF + EVIL,
    "bare LF, then another with its own bare LF": LF + LF.replace(b"{n}", b"evil!!"),
    "bare LF only at the end of the head": HONEST.replace(b"\r\n\r\n", b"\n\n") + b"\r\n\r\nHTTP/1",
    "half a CRLF at the end of the head": HONEST.replace(b"\r\n\r\n", b"\n\r\n")
    + b"\r\n\r\nHTTP/1",
    "the other half": HONEST.replace(b"\r\n\r\n", b"\r\n\n") + b"\r\n\r\nHTTP/1",
    "folded": HONEST.replace(b"X-Nonce: {n}", b"X-Nonce: {n}\r\n \r\nX-A: b\r\n\tc"),
    "an empty line before": b"\r\n\r\n" + HONEST,
    "another whole one after it": HONEST + EVIL,
    "a part of another after it": HONEST + EVIL[:40],
    "all but the body of another": HONEST + EVIL[:-6],
    "the first byte of another": HONEST + b"H",
    "an empty line after it": HONEST + b"\r\n\r\n",
    "junk after it": HONEST + b"junk",
    "hints before": HINTS + HONEST,
    "hints with bare LF before": HINTS.replace(b"\r\n", b"\n") + HONEST,
    "hints that look whole": b"HTTP/1.1 103 X\r\nContent-Length: 6\r\n\r\n" + HONEST,
    "many hints before": HINTS * 16 + HONEST,
    "continue before": b"HTTP/1.1 100 Continue\r\n\r\n" + HONEST,
    "continue after": HONEST + b"HTTP/1.1 100 Continue\r\n\r\n",
    "no length": HONEST.replace(b"Content-Length: 6\r\n", b""),
    "a length of zero, and a body": HONEST.replace(b": 6", b": 0"),
    "a length too small": HONEST.replace(b": 6", b": 3"),
    "two lengths that are the same": HONEST.replace(b"Content", b"Content-Length: 6\r\nContent"),
    "two lengths": HONEST.replace(b"Content-Length: 6", b"Content-Length: 6\r\nContent-Length: 3"),
    "a length and chunks": CHUNKED.replace(b"Transfer", b"Content-Length: 6\r\nTransfer"),
    "no content, and one": HONEST.replace(b"200 OK", b"204 No Content"),
    "no content, and another": b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL,
    "no content, and a part of another": b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL[:30],
    "not modified, and a body": HONEST.replace(b"200 OK", b"304 Not Modified"),
    "not modified, and a part of another": HONEST[:-3].replace(b"200 OK", b"304 X") + EVIL[:30],
    "closed in words only": HONEST.replace(b"Content", b"Connection: close\r\nContent"),
    "HTTP/1.0": HONEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "an upgrade that nobody asked for": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n" + EVIL,
    "an upgrade in the head of a plain one": HONEST.replace(
        b"Content", b"Connection: upgrade\r\nUpgrade: websocket\r\nContent"
    ),
    "trailers": CHUNKED.replace(b"0\r\n\r\n", b"0\r\nX-Nonce: evil!!\r\n\r\n"),
    "trailers, and a part of another": CHUNKED[:-2] + b"X-T: y\r\n\r\n" + EVIL[:30],
    "chunks, and a part of another": CHUNKED + EVIL[:30],
    "chunks, and another": CHUNKED + EVIL,
}


@dataclass
class Hostile:
    """Answers a request for `/odd/N` with `piece`, any other one honestly; N is its nonce. A body
    is not waited for. `cut`: where a pause is in it; None: nowhere."""

    piece: bytes = HONEST
    cut: int | None = None
    port: int = 0
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, kind, nonce = head.split(b" ")[1].split(b"/")
                answer = (self.piece if kind == b"odd" else HONEST).replace(b"{n}", nonce)
                if self.cut is not None and kind == b"odd":
                    writer.write(answer[: self.cut])
                    await asyncio.sleep(0.02)
                    answer = answer[self.cut :]
                writer.write(answer)


@dataclass
class Caller:
    """Keeps its connection as long as the gateway does."""

    world: World
    key: Key
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(self, target: str, method: str = "GET", more: str = "") -> Answer | None:
        """The whole answer; None where it was cut."""
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(*self.world.address)
        self.writer.write(
            f"{method} /agents/echo{target} HTTP/1.1\r\nHost: a\r\n"
            f"Authorization: Bearer {self.key.text}\r\n{more}\r\n".encode()
        )
        async with asyncio.timeout(PATIENCE):
            try:
                answer = await read_answer(self.reader, body=method != "HEAD")
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close()
                return None
        if answer.headers.get("Connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


@dataclass
class Scene:
    agent: Hostile
    one: Caller
    other: Caller

    async def all_is_well(self, turn: int) -> None:
        """Both are served honestly, on connections that are kept to the agent."""
        for number, caller in enumerate((self.other, self.one, self.other)):
            nonce = f"h{turn:02d}{number:03d}"
            answer = await caller.ask(f"/honest/{nonce}")
            assert answer is not None
            if answer.status == 502:
                # What was left over has spoiled the connection, not the answer.
                answer = await caller.ask(f"/honest/{nonce}")
            assert answer is not None
            assert (answer.status, answer.body) == (200, nonce.encode())
            assert answer.headers["X-Nonce"] == nonce


@pytest.fixture
async def scene(store: StoreSettings, client: Redis) -> AsyncIterator[Scene]:
    agent = Hostile()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    async with new_world(store, client) as world:
        upstream = Upstream("http", "127.0.0.1", agent.port)
        world.serve(world.agent(upstream=upstream, timeouts=Timeouts(first_byte=1.0, idle=0.3)))
        one, other = Caller(world, await world.issue()), Caller(world, await world.issue())
        yield Scene(agent, one, other)
        one.close()
        other.close()
    server.close()


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
async def test_whoever_answers_oddly_answers_only_the_one_who_asked(
    scene: Scene, piece: bytes
) -> None:
    scene.agent.piece = piece
    for turn in range(3):
        nonce = f"n{turn:05d}"
        answer = await scene.one.ask(f"/odd/{nonce}", more="Connection: close\r\n")
        if answer is not None and answer.status != 502:
            assert answer.body in (nonce.encode(), nonce[:3].encode(), b"")
            assert "evil" not in str(answer.headers)
        await scene.all_is_well(turn)


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
async def test_an_answer_to_head_has_no_body_for_anybody(scene: Scene, piece: bytes) -> None:
    scene.agent.piece = piece
    for turn in range(2):
        answer = await scene.one.ask(f"/odd/n{turn:05d}", "HEAD")
        if answer is not None and answer.status != 502:
            assert "evil" not in str(answer.headers)
        await scene.all_is_well(turn)


@pytest.mark.parametrize("before", [b"", HINTS, 3 * HINTS], ids=len)
async def test_an_agent_that_answers_head_as_if_it_were_get_is_understood(
    scene: Scene, before: bytes
) -> None:
    scene.agent.piece = before + HONEST
    answer = await scene.one.ask("/odd/n00000", "HEAD")
    assert answer is not None
    assert (answer.status, answer.headers["Content-Length"]) == (200, "6")
    await scene.all_is_well(0)
    assert scene.agent.connections == 2


@pytest.mark.parametrize(("answer", "body"), [(HONEST, 6), (CHUNKED, 16)], ids=["sized", "chunks"])
async def test_a_body_that_a_204_has_no_place_for_spoils_nobody_elses_answer(
    scene: Scene, answer: bytes, body: int
) -> None:
    """It comes later than its head, when the next request is on its way."""
    scene.agent.piece, scene.agent.cut = answer.replace(b"200 OK", b"204 X"), -body
    told = await scene.one.world.call(scene.one.key, "/agents/echo/odd/n00000")
    assert (told.status, told.body) == (204, b"")
    again = await scene.other.ask("/honest/h00000")
    assert again is not None and again.body == b"h00000"
    assert scene.agent.connections == 2


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
async def test_an_answer_before_the_upload_ended_ends_the_connection_to_the_agent(
    scene: Scene, piece: bytes
) -> None:
    scene.agent.piece = piece
    answer = await scene.one.ask("/odd/n00000", "POST", "Content-Length: 9\r\n")
    if answer is not None and answer.status != 502:
        assert answer.body in (b"n00000", b"n00", b"")
    scene.one.close()
    await scene.all_is_well(0)
    assert scene.agent.connections >= 2


@pytest.mark.parametrize(
    "more", [EVIL[:40], b"H", b"HTTP/1", b"\r\n\r\nHTTP/1.1 200 OK\r\nX: "], ids=len
)
@pytest.mark.parametrize("begin", [HONEST, LF], ids=["CRLF", "LF"])
async def test_a_connection_on_which_more_came_than_was_asked_for_is_not_used_again(
    scene: Scene, begin: bytes, more: bytes
) -> None:
    """What comes next on it would be the rest of that, and no answer."""
    scene.agent.piece = begin + more
    answer = await scene.one.ask("/odd/n00000")
    assert answer is None or answer.status == 502 or answer.body == b"n00000"
    again = await scene.other.ask("/honest/h00000")
    assert again is not None
    assert (again.status, again.body) == (200, b"h00000")
    if begin == HONEST:
        assert scene.agent.connections == 2


@pytest.mark.parametrize("more", [EVIL[:40], b"H"], ids=len)
@pytest.mark.parametrize(
    "begin", [HONEST, CHUNKED, HINTS + HONEST], ids=["sized", "chunks", "hints"]
)
async def test_nor_is_one_on_which_it_came_behind_an_answer_in_several_pieces(
    scene: Scene, begin: bytes, more: bytes
) -> None:
    scene.agent.piece, scene.agent.cut = begin + more, -len(more) - 1
    answer = await scene.one.ask("/odd/n00000")
    assert answer is not None and answer.body == b"n00000"
    again = await scene.other.ask("/honest/h00000")
    assert again is not None
    assert (again.status, again.body) == (200, b"h00000")
    assert scene.agent.connections == 2
