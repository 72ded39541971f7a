"""The end of tasks that go on by themselves."""

import asyncio

AGAIN_SECONDS = 0.1


async def end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel them until they have ended: redis-py loses a cancellation that comes at the wrong
    moment (as asyncio.wait_for does), and a loop that lost its only one would go on for good."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        for task in done:
            if not task.cancelled():
                # What it ended with was of interest while it ran.
                task.exception()
