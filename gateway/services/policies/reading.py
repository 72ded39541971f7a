"""Reading policy files in a thread, and reporting a disk that does not answer."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from gateway.log import log

# After this time the disk is reported as silent: the thread that waits for it cannot be stopped.
SILENT_SECONDS = 10.0

Found = TypeVar("Found")
Given = TypeVarTuple("Given")


class Reading:
    """One read at a time: a disk that hangs blocks one thread, however many ask. `silent`: it does
    not answer; `unread` is told each change of this."""

    def __init__(self, directory: Path) -> None:
        self.silent = False
        self.unread: Callable[[bool], object] = lambda _: None
        self._directory = directory
        self._turn = asyncio.Lock()

    async def __call__(self, work: Callable[[*Given], Found], *given: *Given) -> Found:
        await self._turn.acquire()
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(None, work, *given)
        # On the read and not on the wait for it: the caller may have left while the thread still
        # hangs.
        waited_long = loop.call_later(SILENT_SECONDS, self._report_silence)
        reading.add_done_callback(partial(self._over, waited_long))
        return await asyncio.shield(reading)

    def _report_silence(self) -> None:
        log.error("policies_unread", directory=str(self._directory), seconds=SILENT_SECONDS)
        self._set_silent(silent=True)

    def _over(self, waited_long: asyncio.TimerHandle, _: "asyncio.Future[Found]") -> None:
        self._turn.release()
        waited_long.cancel()
        if self.silent:
            log.info("policies_read_again")
            self._set_silent(silent=False)

    def _set_silent(self, *, silent: bool) -> None:
        self.silent = silent
        self.unread(silent)
