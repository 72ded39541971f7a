"""Finished requests, reported in batches: a request appends one record, readers get many at
once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.domain.settings import AccessLogSettings
from gateway.domain.traffic import Handled
from gateway.services.telemetry.access_log import AccessLog

# Often, so that batches are small: reporting what came in a fifth of a second took so long that one
# request in a hundred waited for it.
SETTLE_SECONDS = 0.01

Reader = Callable[[list[Handled]], None]


class Journal:
    """`readers` get each request once, within SETTLE_SECONDS of its end."""

    def __init__(self, *readers: Reader) -> None:
        self._readers = readers
        self._loop = asyncio.get_running_loop()
        self._batch: list[Handled] = []

    def add(self, handled: Handled) -> None:
        if not self._batch:
            self._loop.call_later(SETTLE_SECONDS, self.settle)
        self._batch.append(handled)

    def settle(self) -> None:
        """Report what has not been reported yet."""
        if self._batch:
            batch, self._batch = self._batch, []
            for read in self._readers:
                read(batch)


@asynccontextmanager
async def open_journal(
    settings: AccessLogSettings | None, *readers: Reader
) -> AsyncIterator[Journal]:
    """Yield a journal for `readers` and for an access log, if there is to be one."""
    access_log = None
    if settings is not None:
        access_log = AccessLog(settings.path, as_json=settings.as_json)
        readers = (*readers, access_log.add)
    journal = Journal(*readers)
    try:
        yield journal
    finally:
        journal.settle()
        if access_log is not None:
            await access_log.close()
