"""Connecting to one of several addresses, dead ones among them (RFC 8305, "Happy Eyeballs")."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

# As curl and browsers have it: who is alive has mostly answered by then.
HEAD_START = 0.25

T = TypeVar("T")


async def reach(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """A socket connected to the first of `addresses` that answers; OSError where none does. What
    is spoken on it comes after: a handshake that takes its time is no dead address."""
    return await first_of(
        addresses, seconds, lambda address: _connected(address, port), lambda late: late.close()
    )


async def _connected(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio turns off Nagle's algorithm where it is told that this is TCP.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


async def first_of(
    addresses: Sequence[str],
    seconds: float,
    connect: Callable[[str], Awaitable[T]],
    drop: Callable[[T], object],
) -> T:
    """The first connection that comes about; the last failure where none does. The next address is
    tried as soon as those before have failed or had their start, all within half of `seconds`.

    `drop` gets what came about too late.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    start = min(HEAD_START, seconds / (2 * len(addresses)))
    waiting = list(reversed(addresses))
    running: set[asyncio.Task[T]] = set()
    problem: BaseException | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_attempt(connect, waiting.pop())))
            done, running = await asyncio.wait(
                running, timeout=start if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                problem = task.exception()
                if problem is None:
                    running |= done - {task}
                    return task.result()
    finally:
        for task in running:
            task.add_done_callback(lambda late: _dispose(late, drop))
            task.cancel()
    raise problem or OSError("there is no address")


async def _attempt(connect: Callable[[str], Awaitable[T]], address: str) -> T:
    return await connect(address)


def _dispose(task: "asyncio.Task[T]", drop: Callable[[T], object]) -> None:
    if not task.cancelled() and task.exception() is None:
        drop(task.result())
