"""Whatever goes on by itself ends when it is told to."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import pytest
from structlog.testing import capture_logs

from gateway import tasks
from gateway.tasks import Tasks, cancel_and_wait, cooperatively, in_background


async def deaf(times: int, heard: list[int]) -> None:
    """As a loop around redis-py, which can lose a cancellation."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append(1)
            if len(heard) > times:
                raise


async def test_a_loop_that_lost_its_cancellation_is_cancelled_again() -> None:
    heard: list[int] = []
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        in_background(partial(deaf, 2, heard), stack)
        await asyncio.sleep(0)
    assert len(heard) == 3


async def test_a_loop_that_failed_long_ago_hinders_no_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> None:
        raise OSError

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert task.done() and not caplog.records


async def test_work_that_fails_is_said_at_once_without_what_it_knew() -> None:
    async def broken() -> None:
        raise OSError("a secret")

    with capture_logs() as logs:
        async with AsyncExitStack() as stack:
            in_background(broken, stack)
            in_background(partial(asyncio.sleep, 60), stack)
            await asyncio.sleep(0.01)
            (told,) = logs
        assert logs == [told]
    assert (told["event"], told["log_level"]) == ("background_task_failed", "error")
    assert (told["error"], "broken" in told["task"]) == ("OSError", True)
    assert "secret" not in str(told)


async def test_a_loop_that_fails_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended for good it would be missed by nobody but those who rely on it, such as rotations."""
    monkeypatch.setattr(tasks, "ANEW_SECONDS", 0.01)
    begun, goes_on = 0, asyncio.Event()

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise AttributeError
        goes_on.set()
        await asyncio.sleep(60)

    with capture_logs() as logs:
        async with asyncio.timeout(10), AsyncExitStack() as stack:
            in_background(loop, stack)
            await goes_on.wait()
    assert begun == 3
    assert [told["event"] for told in logs] == ["background_task_failed"] * 2


async def test_nothing_to_end_is_no_mistake() -> None:
    await cancel_and_wait()


async def test_what_does_not_finish_in_time_is_cancelled() -> None:
    work, done = Tasks(), []

    async def quick() -> None:
        await asyncio.sleep(0)
        done.append("quick")

    await work.finish(0.0)
    work.begin(quick())
    work.begin(asyncio.sleep(60))
    assert len(work) == 2
    async with asyncio.timeout(10):
        await work.finish(0.05)
    assert (done, len(work)) == (["quick"], 0)


async def test_work_in_turns_lets_others_have_theirs() -> None:
    turns: list[int] = []
    done = 0

    async def other() -> None:
        while True:
            turns.append(done)
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        in_background(other, stack)
        found = [done := item async for item in cooperatively(range(1, 31), 10)]
        assert found == list(range(1, 31))
        assert turns == [10, 20, 30]
