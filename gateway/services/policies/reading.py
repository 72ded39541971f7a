"""Reading the files of policies beside the event loop, and saying that they give no answer."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from gateway.log import log

# Until it is said that a disk gives no answer: whoever waits for it cannot be told to stop.
SILENT_SECONDS = 10.0

Found = TypeVar("Found")
Given = TypeVarTuple("Given")


class Reading:
    """One at a time: a disk that hangs holds up one thread, however many ask. `silent`: it gives no
    answer, of which `unread` is told."""

    def __init__(self, directory: Path) -> None:
        self.silent = False
        self.unread: Callable[[bool], object] = id
        self._directory = directory
        self._turn = asyncio.Lock()

    async def __call__(self, work: Callable[[*Given], Found], *given: *Given) -> Found:
        await self._turn.acquire()
        reading = asyncio.get_running_loop().run_in_executor(None, work, *given)
        # Not where the wait for it ends: whoever asked may have left, and the thread stays.
        reading.add_done_callback(lambda _: self._turn.release())
        done, _ = await asyncio.wait({reading}, timeout=SILENT_SECONDS)
        if done:
            return reading.result()
        log.error("policies_unread", directory=str(self._directory), seconds=SILENT_SECONDS)
        self._told(silent=True)
        reading.add_done_callback(lambda _: self._told(silent=False))
        found = await asyncio.shield(reading)
        log.info("policies_read_again")
        return found

    def _told(self, *, silent: bool) -> None:
        self.silent = silent
        self.unread(silent)
