"""Tasks that go on by themselves, from their beginning to their end; work that takes turns; and
threads for what is done beside the event loop."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from threading import Event
from typing import Any, TypeVar

from gateway.domain.errors import OperationError
from gateway.log import log

AGAIN_SECONDS = 0.1
# For files, mostly: what takes long has threads of its own.
THREADS_BESIDE = 8

T = TypeVar("T")


def background(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    """Run `work` until it ends or is ended. Where it fails, nobody awaits it: what it did is done
    no more, and the log says so."""
    task = asyncio.create_task(work)
    task.add_done_callback(_say_why)
    return task


def in_background(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run `work`, which never ends by itself, until the stack is closed."""
    stack.push_async_callback(end, background(work))


def _say_why(task: "asyncio.Task[None]") -> None:
    problem = None if task.cancelled() else task.exception()
    if problem is not None:
        # Not its text: what was at hand where it failed may be a secret.
        name = task.get_coro().__qualname__  # type: ignore[union-attr]
        log.error("background_task_ended", task=name, error=type(problem).__name__)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel them until they have ended: redis-py loses a cancellation that comes at the wrong
    moment (as asyncio.wait_for does), and a loop that lost its only one would go on for good."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        for task in done:
            # What it ended with was of interest while it ran.
            unheard(task)


def unheard(done: "asyncio.Future[Any]") -> None:
    """Whatever became of it is of no interest to anybody, and no mistake then."""
    if not done.cancelled():
        done.exception()


class Tasks(set["asyncio.Task[Any]"]):
    """Work under way, each until it ends: nobody else keeps hold of it."""

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self.add(task)
        task.add_done_callback(self.discard)

    async def finish(self, seconds: float) -> None:
        """All of it, as far as that takes no longer; what is left is cancelled."""
        if self:
            await asyncio.wait(self, timeout=seconds)
        await end(*self)


async def in_turns(items: Iterable[T], each: int) -> AsyncIterator[T]:
    """The items; other work has its turn after each `each` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % each == 0:
            await asyncio.sleep(0)


def threads(number: int, name: str) -> ThreadPoolExecutor:
    """So many threads, all begun: what has to wait for one until the system has none to spare would
    fail, and work that goes on by itself would end. OperationError where they cannot be had."""
    pool, begun = ThreadPoolExecutor(number, name), Event()
    try:
        for _ in range(number):
            # As none is idle, each takes one more.
            pool.submit(begun.wait)
    except RuntimeError:
        raise OperationError(
            "The system lets the gateway have no more threads: raise the bound on its processes "
            "(ulimit -u, TasksMax of systemd, pids_limit of a container)."
        ) from None
    finally:
        begun.set()
    return pool


def take_threads() -> None:
    """For asyncio.to_thread in the running loop."""
    asyncio.get_running_loop().set_default_executor(threads(THREADS_BESIDE, "beside"))
