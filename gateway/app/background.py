"""Work that goes on beside requests."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack

from gateway.store.tasks import end


def in_background(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run `work`, which never ends by itself, until the stack is closed."""
    task = asyncio.create_task(work)
    stack.push_async_callback(end, task)
