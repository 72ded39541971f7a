"""A stall of this process is not taken for the silence of others."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.timers import Timer, timeout
from tests.stalling import stall

SECONDS = 0.05

Stream = tuple[asyncio.StreamReader, socket.socket]


@pytest.fixture
async def stream() -> AsyncIterator[Stream]:
    """What is read here, and the end that writes it."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    with theirs:
        yield reader, theirs
        writer.close()


async def test_an_answer_that_came_during_a_stall_is_in_time(stream: Stream) -> None:
    reader, peer = stream
    async with timeout(SECONDS):
        await stall(SECONDS * 3, lambda: peer.send(b"answer"))
        assert await reader.read(6) == b"answer"


async def test_an_answer_that_comes_soon_after_a_stall_is_in_time(stream: Stream) -> None:
    """Whoever answers stalled as well."""
    reader, peer = stream
    async with timeout(SECONDS):
        await stall(SECONDS * 10)
        await asyncio.sleep(SECONDS)
        peer.send(b"answer")
        assert await reader.read(6) == b"answer"


@pytest.mark.parametrize("stalls", [False, True])
async def test_silence_is_noticed_all_the_same(stream: Stream, stalls: bool) -> None:
    reader, _ = stream
    with pytest.raises(TimeoutError):
        async with timeout(SECONDS):
            if stalls:
                await stall(SECONDS * 3)
            await reader.read(6)


async def test_a_timer_that_was_cancelled_never_strikes() -> None:
    loop, struck = asyncio.get_running_loop(), asyncio.Event()
    for stalls in (False, True):
        timer = Timer(loop, loop.time() + SECONDS / 2, struck.set)
        if stalls:
            # Due, and in its grace.
            await stall(SECONDS * 3)
        timer.cancel()
    await asyncio.sleep(SECONDS * 4)
    assert not struck.is_set()
