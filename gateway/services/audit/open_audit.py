"""The audit writer of a gateway process, for its lifetime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from redis.asyncio import Redis

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.settings import Fsync
from gateway.domain.settings import Settings
from gateway.log import Seldom, log
from gateway.services.audit.writer import Audit
from gateway.store.audit import AuditStore
from gateway.store.audit_file import AuditFile
from gateway.store.audit_line import AuditLine
from gateway.store.connections.connect import open_line
from gateway.tasks import cancel_and_wait, unending

SYNC_SECONDS = 1.0


class _Failures:
    """Logs once a second at most that records could not be written: every call that needs one
    fails, and each is in the access log."""

    def __init__(self) -> None:
        self._lately = Seldom(asyncio.get_running_loop().time)

    def log(self, reason: str, records: int) -> None:
        if told := self._lately.due(records):
            log.warning("audit_unavailable", reason=reason, records=told)


def _log_trouble(reason: str) -> None:
    log.error("audit_file", reason=reason)


async def _sync_repeatedly(file: AuditFile) -> None:
    """Never ends by itself."""
    while True:
        await asyncio.sleep(SYNC_SECONDS)
        await asyncio.to_thread(file.sync)


@asynccontextmanager
async def open_audit(
    settings: Settings, client: Redis, masters: MasterKeys
) -> AsyncIterator[Audit]:
    """Yield the writer; what waits when it closes is written first."""
    keys = audit_keys(masters)
    wanted, retention = settings.audit.file, settings.audit.retention
    file = AuditFile(wanted, _log_trouble) if wanted is not None else None
    prefix = settings.store.prefix
    own = open_line(settings.store)
    # In a cluster the stream may move to another node, which the redis-py client follows.
    line = AuditLine(own, prefix, retention) if own is not None else None
    sink = line or AuditStore(client, prefix, retention)
    audit = Audit(sink, keys, file, on_failure=_Failures().log)
    syncing = None
    if file is not None and wanted is not None and wanted.sync is Fsync.SECOND:
        syncing = unending(partial(_sync_repeatedly, file))
    try:
        yield audit
    finally:
        await audit.close()
        if syncing is not None:
            await cancel_and_wait(syncing)
        if file is not None:
            await asyncio.to_thread(file.sync)
        if line is not None:
            await line.close()
