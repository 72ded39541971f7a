"""Reading and searching what is large beside the event loop, so that others have their turn."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

# What is shorter takes less than a few milliseconds at worst.
LARGE = 2**18

Found = TypeVar("Found")
Given = TypeVarTuple("Given")


class Aside:
    """One thread, since only one can run Python at a time: what is large takes turns with what is
    large, and keeps no other work of this process from its threads."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")

    async def do(self, size: int, work: Callable[[*Given], Found], *given: *Given) -> Found:
        """`work(*given)`, or what it raises. `size`: of what is read or searched, in bytes."""
        if size < LARGE:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    def close(self) -> None:
        """Nobody waits for what is still done."""
        self._thread.shutdown(wait=False, cancel_futures=True)
