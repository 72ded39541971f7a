"""Requests that a caller sends without waiting for answers, or for their bodies to be read."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.domain.settings import ListenerLimits
from gateway.protocol.http.reply import Reply
from gateway.proxy.client import (
    PIPELINE_BUFFER,
    REQUESTS_IN_A_ROW,
    Callbacks,
    ClientConnection,
)
from gateway.proxy.connections import Connections
from gateway.proxy.exchange import Exchange
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import READ_BUFFER

ONE = b"GET /agents/a/x HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /agents/a/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
# As much as an event loop may read at once.
READ = ONE * (2**16 // len(ONE))


class Caller(asyncio.Transport):
    """A caller who takes every answer, and sends whenever he may: `reads` says whether he may."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.left = False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.left

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.left = True

    abort = close


class Read:
    """The bodies of requests, read and answered one after the other once `may_begin` is set."""

    def __init__(self) -> None:
        self.may_begin = asyncio.Event()
        self._bodies: list[bytes] = []

    async def serve(self, exchange: Exchange) -> None:
        await self.may_begin.wait()
        body = b""
        while piece := await exchange.read_body():
            body += piece
        self._bodies.append(body)
        answer(exchange)

    async def first(self, number: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self._bodies) < number:
                await asyncio.sleep(0)
        return self._bodies


def connected(serve: Callable[[Exchange], Awaitable[None]]) -> tuple[ClientConnection, Caller]:
    loop = asyncio.get_running_loop()
    callbacks = Callbacks(serve, lambda *_: None, lambda *_: None)
    connection = ClientConnection(loop, ListenerLimits(), callbacks, Connections(), Outbox(loop))
    transport = Caller()
    connection.connection_made(transport)
    return connection, transport


def answer(exchange: Exchange) -> None:
    exchange.reply(Reply(200, (), b""))


async def test_no_more_is_held_of_a_caller_the_more_of_its_requests_are_answered() -> None:
    """With each request that was answered another read was held behind those before: gigabytes
    after some thousand, and all of it was copied for each request."""
    answered, may_answer = 0, asyncio.Semaphore(0)

    async def serve(exchange: Exchange) -> None:
        nonlocal answered
        await may_answer.acquire()
        answered += 1
        answer(exchange)

    connection, caller = connected(serve)
    received = 0
    for _ in range(50):
        while caller.reads:
            connection.data_received(READ)
            received += len(READ)
        assert received - answered * len(ONE) <= 2 * (PIPELINE_BUFFER + len(READ))
        may_answer.release()
        for _ in range(5):
            await asyncio.sleep(0)
    assert answered == 50
    connection.connection_lost(None)


async def test_all_that_was_held_is_answered_in_the_end() -> None:
    paths = []

    async def serve(exchange: Exchange) -> None:
        paths.append(exchange.target)
        await asyncio.sleep(0)
        answer(exchange)

    connection, caller = connected(serve)
    whole = b"".join(ONE.replace(b"/x", b"/%d" % number) for number in range(4000))
    # So that reads end within heads, too.
    for start in range(0, len(whole), 9973):
        while not caller.reads:
            await asyncio.sleep(0)
        connection.data_received(whole[start : start + 9973])
    async with asyncio.timeout(20):
        while len(paths) < 4000:
            await asyncio.sleep(0)
    assert paths == [b"/agents/a/%d" % number for number in range(4000)]
    connection.connection_lost(None)


async def test_the_rest_of_a_request_is_read_that_came_while_the_one_before_was_answered() -> None:
    """The parser holds its beginning by then, and a whole head with it."""
    read = Read()
    connection, _ = connected(read.serve)
    connection.data_received(ONE + POST + b"ab")
    await asyncio.sleep(0)
    connection.data_received(b"cde" + ONE)
    read.may_begin.set()
    assert await read.first(3) == [b"", b"abcde", b""]
    connection.connection_lost(None)


async def test_a_body_of_many_small_chunks_that_waited_to_be_read_is_read_to_its_end() -> None:
    """The parser stopped behind as many as a reader takes, and nothing had it go on."""
    read = Read()
    connection, _ = connected(read.serve)
    chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    connection.data_received(chunked + b"1\r\na\r\n" * (READ_BUFFER // 16 + 1))
    await asyncio.sleep(0)
    read.may_begin.set()
    for _ in range(3):
        await asyncio.sleep(0)
    connection.data_received(b"1\r\nb\r\n" * 2 + b"0\r\n\r\n")
    assert await read.first(1) == [b"a" * (READ_BUFFER // 16 + 1) + b"bb"]
    connection.connection_lost(None)


async def test_others_have_their_turn_also_once_the_caller_has_left() -> None:
    """What was held of a caller who had left was worked off first, for minutes if need be."""
    answered = 0

    async def serve(exchange: Exchange) -> None:
        nonlocal answered
        answered += 1
        answer(exchange)

    connection, caller = connected(serve)
    connection.data_received(READ)
    caller.left = True
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < answered <= 3 * REQUESTS_IN_A_ROW
    connection.connection_lost(None)
