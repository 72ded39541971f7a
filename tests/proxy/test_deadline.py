"""A deadline that is moved is the one that counts, also after a stall."""

import asyncio
import socket

from gateway.proxy.deadline import Deadline
from tests.stalling import stall

SECONDS = 0.05


async def test_a_deadline_that_was_moved_has_a_grace_of_its_own() -> None:
    """Otherwise a stall in the grace of the one before would end it before anything is read."""
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    deadline = Deadline(loop, reached.set)
    deadline.set(SECONDS)
    deadline.set(SECONDS * 2)
    with theirs:
        await stall(SECONDS * 1.5)
        await stall(SECONDS * 20, lambda: theirs.send(b"answer"))
        assert await reader.read(6) == b"answer"
        assert not reached.is_set()
        deadline.set(SECONDS)
        async with asyncio.timeout(15):
            await reached.wait()
    writer.close()
