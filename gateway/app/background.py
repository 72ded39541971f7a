"""Work that goes on beside requests."""

from collections.abc import Coroutine
from contextlib import AsyncExitStack

from gateway.store.tasks import background, end


def in_background(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run `work`, which never ends by itself, until the stack is closed."""
    stack.push_async_callback(end, background(work))
