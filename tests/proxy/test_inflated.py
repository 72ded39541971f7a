"""Answers that were compressed unasked are undone in pieces, and can be cut as any other."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from gateway.protocol.http.answer import AnswerHead
from gateway.protocol.http.inflate import PIECE
from gateway.proxy.body import Body, WholeBody
from gateway.proxy.inflated import inflated
from gateway.proxy.upstream.connection import CutError


def compressed(content: bytes) -> Body:
    """As `content` is read from an answer that has been received whole."""
    head = AnswerHead(200, [(b"Content-Encoding", b"gzip")], encoded=True)
    return inflated(head, WholeBody(gzip.compress(content)))


async def test_an_answer_is_cut_though_all_its_compressed_bytes_have_come() -> None:
    body = compressed(bytes(4 * PIECE))
    assert await body.readany()
    assert not body.is_eof()
    body.set_exception(CutError("The key was closed."))
    with pytest.raises(CutError):
        await body.readany()


async def test_others_have_their_turn_between_the_pieces_of_a_small_answer() -> None:
    body, turns = compressed(bytes(8 * PIECE)), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    sizes = [len(piece) async for piece in pieces(body)]
    other.cancel()
    assert sum(sizes) == 8 * PIECE
    assert max(sizes) <= PIECE
    assert turns >= 8


async def pieces(body: Body) -> AsyncIterator[bytes]:
    while piece := await body.readany():
        yield piece
