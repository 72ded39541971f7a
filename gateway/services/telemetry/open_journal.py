"""The journal of a gateway, and the access log that reads it, for as long as it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.domain.settings import AccessLogSettings
from gateway.services.telemetry.access_log import AccessLog
from gateway.services.telemetry.journal import Journal, Reader


@asynccontextmanager
async def open_journal(
    settings: AccessLogSettings | None, *readers: Reader
) -> AsyncIterator[Journal]:
    """`readers` are told of each request; so is an access log, if there is to be one."""
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
