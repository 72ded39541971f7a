"""Reading what is large beside the event loop, so that others have their turn meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# What is shorter takes less than a few milliseconds at worst.
LARGE = 2**18

Found = TypeVar("Found")


class Aside:
    """One thread, since only one can run Python at a time: what is large takes turns with what is
    large, and keeps no other work of this process from its threads."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")

    async def read(self, how: Callable[[bytes], Found], body: bytes) -> Found:
        """`how(body)`, and whatever it raises."""
        if len(body) < LARGE:
            return how(body)
        return await asyncio.get_running_loop().run_in_executor(self._thread, how, body)

    def close(self) -> None:
        """Nobody waits for what is still read."""
        self._thread.shutdown(wait=False, cancel_futures=True)
