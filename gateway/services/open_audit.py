"""The audit of a gateway, for as long as it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.settings import Settings
from gateway.services.audit import Audit
from gateway.store.audit import AuditFile, AuditStore
from gateway.store.audit_line import AuditLine
from gateway.store.connect import open_lines
from gateway.store.multiplex import Multiplexer

log = structlog.get_logger()


def _say(reason: str, records: int) -> None:
    log.warning("audit_unavailable", reason=reason, records=records)


@asynccontextmanager
async def open_audit(settings: Settings, client: Redis) -> AsyncIterator[Audit]:
    """What waits at its end is written first."""
    keys = audit_keys(MasterKeys(settings.vault.master_keys))
    file = AuditFile.at(settings.audit_file)
    prefix = settings.store.prefix
    lines = open_lines(settings.store)
    line = None
    if isinstance(lines, Multiplexer):
        line = AuditLine(lines, prefix)
    else:
        # A cluster's or a sentinel's way to the stream may change between two commands.
        await lines.close()
    audit = Audit(line or AuditStore(client, prefix), keys, file, on_failure=_say)
    try:
        yield audit
    finally:
        await audit.close()
        if line is not None:
            await line.close()
