"""Background tasks, work that yields to other work, and threads beside the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from threading import Event
from typing import Any, TypeVar

from gateway.domain.errors import OperationError
from gateway.log import log

AGAIN_SECONDS = 0.1
# Before work that failed is begun anew.
ANEW_SECONDS = 1.0
# Mostly for files; work that takes long has threads of its own.
THREADS_BESIDE = 8

T = TypeVar("T")


def background(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    """Run `work` as a task. If it fails, the log says so, because nobody awaits it."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_failure)
    return task


def unending(work: Callable[[], Coroutine[None, None, None]]) -> "asyncio.Task[None]":
    """Run `work()`, which never ends by itself, as a task. If it fails, the log says so and it is
    begun anew: else the process would serve on without it, and without what it is there for."""
    return asyncio.create_task(_again_and_again(work))


def in_background(work: Callable[[], Coroutine[None, None, None]], stack: AsyncExitStack) -> None:
    """Run `work()`, which never ends by itself, until `stack` is closed."""
    stack.push_async_callback(cancel_and_wait, unending(work))


async def _again_and_again(work: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        running = work()
        try:
            await running
        except Exception as problem:  # noqa: BLE001 (what nobody thought of must not end it)
            _say_failed(running, problem)
            await asyncio.sleep(ANEW_SECONDS)
        else:
            return


def _log_failure(task: "asyncio.Task[None]") -> None:
    problem = None if task.cancelled() else task.exception()
    if problem is not None:
        _say_failed(task.get_coro(), problem)


def _say_failed(work: Any, problem: BaseException) -> None:
    # Without the message of the exception, which may contain a secret.
    log.error("background_task_failed", task=work.__qualname__, error=type(problem).__name__)


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel `tasks` again and again until all have ended: redis-py, like asyncio.wait_for, can
    lose a cancellation that comes at the wrong moment, and a loop that lost it would never end."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        for task in done:
            retrieve_exception(task)


def retrieve_exception(done: "asyncio.Future[Any]") -> None:
    """Mark the exception of a finished task as retrieved, so that asyncio does not log it."""
    if not done.cancelled():
        done.exception()


class Tasks(set["asyncio.Task[Any]"]):
    """Running tasks, kept here so that they are not garbage-collected before they end."""

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self.add(task)
        task.add_done_callback(self.discard)
        return task

    async def finish(self, seconds: float) -> None:
        """Wait up to `seconds` for all tasks to end, then cancel the rest."""
        if self:
            await asyncio.wait(self, timeout=seconds)
        await cancel_and_wait(*self)


async def cooperatively(items: Iterable[T], each: int) -> AsyncIterator[T]:
    """Iterate over `items`, and let other tasks run after every `each` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % each == 0:
            await asyncio.sleep(0)


def threads(number: int, name: str) -> ThreadPoolExecutor:
    """Return a pool with `number` threads, all started: if the system ran out of threads later,
    work that needs one would fail, and background tasks would end. OperationError if there are too
    few."""
    pool, begun = ThreadPoolExecutor(number, name), Event()
    try:
        for _ in range(number):
            # While none is idle, each submit starts another thread.
            pool.submit(begun.wait)
    except RuntimeError:
        raise OperationError(
            "The system allows the gateway no more threads: raise the limit on its processes "
            "(ulimit -u, TasksMax of systemd, pids_limit of a container)."
        ) from None
    finally:
        begun.set()
    return pool


def start_threads() -> None:
    """Start the threads for asyncio.to_thread in the running loop."""
    asyncio.get_running_loop().set_default_executor(threads(THREADS_BESIDE, "beside"))
