"""What the end of a connection means for the answer that was on it."""

import asyncio

import pytest
from aiohttp import StreamReader

from gateway.proxy.outbox import Outbox
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


async def received(answer: bytes, *, said_end: bool) -> StreamReader:
    """The body of an answer whose connection ended before anybody read of it."""
    loop = asyncio.get_running_loop()
    connection = UpstreamConnection(loop, [], lambda _: None, Outbox(loop))
    connection.connection_made(asyncio.Transport())
    arrived = connection.expect_answer(bodiless=False)
    connection.data_received(HEAD + answer)
    if said_end:
        connection.eof_received()
    connection.connection_lost(None)
    return (await arrived)[1]


async def read(body: StreamReader) -> bytes:
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
