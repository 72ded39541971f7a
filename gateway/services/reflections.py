"""Servers that send back the credentials they are given: counted, and on record."""

import asyncio

import structlog

from gateway.domain.audit import AuditEvent
from gateway.domain.errors import Denied
from gateway.services.audit import Audit
from gateway.services.traffic import Traffic

log = structlog.get_logger()


class Reflections:
    """Tells of each, without holding up the answer that it was taken out of."""

    def __init__(self, audit: Audit, traffic: Traffic) -> None:
        self._audit = audit
        self._reflected = traffic.reflected
        self._writing: set[asyncio.Future[None]] = set()

    def tell(self, event: AuditEvent) -> None:
        self._reflected.labels(event.agent).inc()
        names = [use.name for use in event.credentials]
        log.warning("credential_reflected", agent=event.agent, tool=event.tool, credentials=names)
        writing = asyncio.ensure_future(self._audit.record(event))
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._writing.discard(writing)
        if not writing.cancelled() and isinstance(writing.exception(), Denied):
            log.warning("reflection_unrecorded")
