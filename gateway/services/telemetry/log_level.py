"""How much this process logs, which all workers of a fleet are told through Redis."""

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import structlog

from gateway.domain.errors import StoreError
from gateway.domain.settings import LOG_LEVELS
from gateway.log import log

if TYPE_CHECKING:
    # Every command sets its level, and most need no Redis for it.
    from gateway.store.log_level import LogLevelStore

LOOK_SECONDS = 2.0


def log_from(level: str) -> None:
    """Log events of this level and above, whoever holds a logger already."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))


class LogLevel:
    """`own`: what the process was started with, in force while the fleet is told no other."""

    def __init__(self, store: "LogLevelStore", own: str) -> None:
        self._store = store
        self.own = self.current = own

    async def watch(self) -> None:
        """Never ends by itself. While Redis is away the level stays as it is."""
        while True:
            try:
                await self.look()
            except StoreError as problem:
                log.debug("log_level_unknown", reason=str(problem))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Take over what the fleet is told; a word that is no level stands for none."""
        told = await self._store.get()
        wanted = told if told in LOG_LEVELS else self.own
        if wanted != self.current:
            # Said at the louder of the two, as a warning: who reads the log has to know why it
            # grew, or fell silent.
            log_from(min(self.current, wanted, key=LOG_LEVELS.index))
            log.warning("log_level_changed", before=self.current, now=wanted, worker=os.getpid())
            log_from(wanted)
            self.current = wanted

    async def tell(self, level: str, seconds: int | None) -> None:
        """All workers, for so many seconds; None: until they are told something else."""
        await self._store.put(level, seconds)
        await self.look()

    async def forget(self) -> None:
        """Each worker logs again as it was started."""
        await self._store.remove()
        await self.look()
