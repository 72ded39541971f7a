"""Connecting to one of several addresses, dead ones among them (RFC 8305, "Happy Eyeballs")."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

# As curl and browsers have it: who is alive has mostly answered by then.
HEAD_START = 0.25

A = TypeVar("A")
T = TypeVar("T")


async def first_of(
    addresses: Sequence[A],
    seconds: float,
    connect: Callable[[A], Awaitable[T]],
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


async def _attempt(connect: Callable[[A], Awaitable[T]], address: A) -> T:
    return await connect(address)


def _dispose(task: "asyncio.Task[T]", drop: Callable[[T], object]) -> None:
    if not task.cancelled() and task.exception() is None:
        drop(task.result())
