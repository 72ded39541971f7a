"""Tool servers that send back the credentials they were given: counted, and on record."""

from gateway.domain.audit.record import AuditEvent
from gateway.log import log
from gateway.services.audit.queue import AuditQueue
from gateway.services.telemetry.traffic import Traffic


class Reflections:
    """Reports each one, without delaying the answer that it was removed from."""

    def __init__(self, queue: AuditQueue, traffic: Traffic) -> None:
        self._queue = queue
        self._reflected = traffic.reflected

    def tell(self, event: AuditEvent) -> None:
        self._reflected.labels(event.agent).inc()
        names = [use.name for use in event.credentials]
        log.warning("credential_reflected", agent=event.agent, tool=event.tool, credentials=names)
        self._queue.put([event])
