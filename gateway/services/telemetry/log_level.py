"""The log level of this process, which Redis can set for all workers."""

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import structlog

from gateway.domain.errors import StoreError
from gateway.domain.settings import LOG_LEVELS
from gateway.log import log

if TYPE_CHECKING:
    # Every command sets its level, and most of them do not need Redis.
    from gateway.store.log_level import LogLevelStore

LOOK_SECONDS = 2.0


def log_from(level: str) -> None:
    """Log events of this level and above, also by loggers that exist already."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))


class LogLevel:
    """`own`: the level that the process was started with, in force while no other is set."""

    def __init__(self, store: "LogLevelStore", own: str) -> None:
        self._store = store
        self.own = self.current = own

    async def watch(self) -> None:
        """Look again and again, for ever. While Redis is away the level stays as it is."""
        while True:
            try:
                await self.look()
            except StoreError as problem:
                log.debug("log_level_unknown", reason=str(problem))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Apply the level set for all workers; a word that is no level counts as none."""
        stored = await self._store.get()
        wanted = stored if stored in LOG_LEVELS else self.own
        if wanted != self.current:
            # Logged as a warning at the more verbose of both levels: readers have to know why the
            # log grew or went silent.
            log_from(min(self.current, wanted, key=LOG_LEVELS.index))
            log.warning("log_level_changed", before=self.current, now=wanted, worker=os.getpid())
            log_from(wanted)
            self.current = wanted

    async def set(self, level: str, seconds: int | None) -> None:
        """Set the level of all workers for this many seconds; None: until it is changed."""
        await self._store.put(level, seconds)
        await self.look()

    async def reset(self) -> None:
        """Let each worker log again as it was started."""
        await self._store.remove()
        await self.look()
