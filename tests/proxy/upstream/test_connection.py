"""What the end of a connection means for the answer that was on it."""

import asyncio
import socket
import struct

import pytest

from gateway.domain.errors import Denied
from gateway.proxy.body import Body
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import READ_BUFFER
from gateway.proxy.upstream.connection import CutError, UpstreamConnection

HEAD = b"HTTP/1.1 200 OK\r\n"
# More than a reader takes before it pauses the connection, in the one read that TLS may give.
BODY = b"x" * 250_000
SIZED = b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
UNSIZED = b"\r\n" + BODY
CHUNKED = (
    b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"2710\r\n%b\r\n" % BODY[at : at + 10_000] for at in range(0, len(BODY), 10_000))
    + b"0\r\n\r\n"
)


class Open(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def is_closing(self) -> bool:
        return self._ended

    def abort(self) -> None:
        self._ended = True


def connected() -> UpstreamConnection:
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(loop, [], lambda _: None, Outbox(loop))
    connection.connection_made(Open())
    return connection


async def received(answer: bytes, *, said_end: bool) -> Body:
    """The body of an answer whose connection ended before anybody read of it."""
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    connection.data_received(HEAD + answer)
    if said_end:
        connection.eof_received()
    connection.connection_lost(None)
    return (await arrived)[1]


async def read(body: Body) -> bytes:
    """All of it; CutError where it was cut."""
    whole = b""
    while piece := await body.readany():
        whole += piece
    return whole


@pytest.mark.parametrize("answer", [SIZED, UNSIZED, CHUNKED], ids=["sized", "unsized", "chunked"])
async def test_a_whole_answer_is_whole_though_its_connection_ended_before_it_was_read(
    answer: bytes,
) -> None:
    assert await read(await received(answer, said_end=True)) == BODY


@pytest.mark.parametrize("answer", [SIZED[:-1], CHUNKED[:-1]], ids=["sized", "chunked"])
@pytest.mark.parametrize("said_end", [True, False])
async def test_an_answer_that_its_connection_cuts_is_no_whole_one(
    answer: bytes, said_end: bool
) -> None:
    with pytest.raises(CutError):
        await read(await received(answer, said_end=said_end))


async def test_an_end_that_the_agent_did_not_make_ends_no_answer_without_a_length() -> None:
    with pytest.raises(CutError):
        await read(await received(UNSIZED, said_end=False))


WHOLE = HEAD + b"Content-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "body", "reusable"),
    [
        (WHOLE, b"ok", True),
        (HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
        (HEAD + b"Content-Length: 02\r\n\r\nok", b"ok", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE, b"ok", True),
        (b"\r\n" + WHOLE, b"ok", True),
        (HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        *(
            (b"HTTP/%b 200 OK\r\nContent-Length: 2\r\n\r\nok" % version, None, False)
            for version in (b"0.9", b"2.0", b"3")
        ),
        (WHOLE + WHOLE, b"ok", False),
        (HEAD + b"Content-Length: 2\n\r\nokok\r\n\r\n", None, False),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", None, False),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", None, False),
        (HEAD + b"Content-Length: 2, 2\r\n\r\nok", None, False),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nok", None, False),
    ],
)
@pytest.mark.parametrize("cut", [None, 1, 20, -1], ids=str)
async def test_an_answer_is_the_same_in_one_piece_and_in_two(
    answer: bytes, body: bytes | None, reusable: bool, cut: int | None
) -> None:
    """`body` None: it is no answer at all."""
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    pieces = [answer] if cut is None else [answer[:cut], answer[cut:]]
    for piece in pieces:
        connection.data_received(piece)
    if body is None:
        with pytest.raises((Denied, CutError)):
            await read((await arrived)[1])
    else:
        assert await read((await arrived)[1]) == body
    assert connection.reusable is reusable


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 2\r\n"])
@pytest.mark.parametrize("cut", [None, -2, -1], ids=str)
async def test_what_follows_an_answer_that_has_no_body_ends_the_connection_alone(
    status: bytes, length: bytes, cut: int | None
) -> None:
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    answer = b"HTTP/1.1 %b\r\n%b\r\nok" % (status, length)
    for piece in (answer[:cut], answer[cut:] if cut else b""):
        connection.data_received(piece)
    assert await read((await arrived)[1]) == b""
    assert not connection.reusable


async def test_answers_in_one_piece_and_in_several_follow_each_other() -> None:
    connection = connected()
    for pieces in ([WHOLE], [WHOLE[:30], WHOLE[30:]], [WHOLE], [WHOLE[:-1], WHOLE[-1:]]):
        arrived = connection.expect_answer(bodiless=False)
        for piece in pieces:
            connection.data_received(piece)
        assert await read((await arrived)[1]) == b"ok"
        assert connection.reusable


CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
HINTED = b"HTTP/1.1 103 X\r\n\r\n" + WHOLE


@pytest.mark.parametrize(
    "more", [b"H", b"HTTP/1.1 2", b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 204 X\r\nX: ", WHOLE, b"ok"]
)
@pytest.mark.parametrize("answer", [WHOLE, CHUNKS, HINTED], ids=["sized", "chunks", "hinted"])
@pytest.mark.parametrize("cut", [0, 30, -1], ids=str)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_the_beginning_of_an_answer_that_nobody_asked_for_ends_the_connection(
    answer: bytes, more: bytes, cut: int, later: bool
) -> None:
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    begin, end = answer[:cut], answer[cut:]
    for piece in (begin, end, more) if later else (begin, end + more):
        connection.data_received(piece)
    try:
        assert await read((await arrived)[1]) == b"ok"
    except (Denied, CutError):
        assert more == b"ok"
    assert not connection.reusable


async def test_what_follows_the_head_that_answers_a_head_request_ends_the_connection() -> None:
    connection = connected()
    arrived = connection.expect_answer(bodiless=True)
    connection.data_received(HEAD + b"Content-Length: 2\r\n\r\nHTTP/1.1 2")
    assert await read((await arrived)[1]) == b""
    assert not connection.reusable


async def test_a_large_answer_that_is_read_slowly_leaves_a_connection_that_can_be_used() -> None:
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    for at in range(0, len(HEAD + SIZED), 60_000):
        connection.data_received((HEAD + SIZED)[at : at + 60_000])
    assert await read((await arrived)[1]) == BODY
    assert connection.reusable


async def test_an_answer_of_many_small_chunks_that_waited_to_be_read_is_read_to_its_end() -> None:
    """The parser stopped behind as many as a reader takes, and nothing had it go on."""
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    most = READ_BUFFER // 16
    connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.data_received(b"1\r\na\r\n" * (most + 1))
    body = (await arrived)[1]
    assert await body.readany() == b"a" * (most + 1)
    connection.data_received(b"1\r\nb\r\n" * 2 + b"0\r\n\r\n")
    async with asyncio.timeout(5):
        assert await read(body) == b"bb"
    assert connection.reusable


async def test_an_answer_that_came_before_a_write_failed_is_the_answer() -> None:
    """An agent that has refused a body closes at once, and the next piece of it finds nobody."""
    loop, outbox = asyncio.get_running_loop(), Outbox(asyncio.get_running_loop())
    with socket.create_server(("127.0.0.1", 0)) as agent:
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(loop, [], lambda _: None, outbox), *agent.getsockname()
        )
        end, _ = agent.accept()
        arrived = connection.expect_answer(bodiless=False)
        with end:
            end.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            # Closed with a reset.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.write(b"the next piece")
        outbox.flush()
        async with asyncio.timeout(10):
            message, body = await arrived
            assert (message.code, await body.readany()) == (413, b"big")
        assert not connection.reusable


@pytest.mark.parametrize("first", [b"", b"one"])
async def test_frames_that_come_in_several_reads_before_the_tunnel_is_open_are_kept_for_it(
    first: bytes,
) -> None:
    connection = connected()
    arrived = connection.expect_answer(bodiless=False)
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    connection.data_received(switching + b"Connection: Upgrade\r\n\r\n" + first)
    for frames in (b"two", b"three"):
        connection.data_received(frames)
    assert (await arrived)[0].code == 101
    assert connection.usable
    assert connection.take_early() == first + b"twothree"
