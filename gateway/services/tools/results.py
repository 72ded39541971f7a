"""Audit records of what came of tool calls: results, and credentials that servers send back."""

from collections.abc import Sequence

from gateway.domain.audit.record import ALLOWED, DENIED, AuditEvent
from gateway.domain.traffic import Handled
from gateway.log import log
from gateway.services.audit.queue import AuditQueue
from gateway.services.telemetry.traffic import Traffic

# In place of a refusal's code: the answer was cut off, or the caller left before it began.
CUT = "cut"


class ToolResults:
    """A reader of the journal, which gets requests that have ended."""

    def __init__(self, queue: AuditQueue) -> None:
        self._queue = queue

    def count(self, batch: Sequence[Handled]) -> None:
        if events := [_result(handled) for handled in batch if handled.tool]:
            self._queue.put(events)


class Reflections:
    """Reports each server that sent back a credential, without delaying its answer."""

    def __init__(self, queue: AuditQueue, traffic: Traffic) -> None:
        self._queue = queue
        self._reflected = traffic.reflected

    def report(self, event: AuditEvent) -> None:
        self._reflected.labels(event.agent).inc()
        names = [use.name for use in event.credentials]
        log.warning("credential_reflected", agent=event.agent, tool=event.tool, credentials=names)
        self._queue.put([event])


def _result(handled: Handled) -> AuditEvent:
    return AuditEvent(
        "tool.result",
        request_id=handled.request_id,
        key_id=handled.key_id,
        consumer=handled.consumer,
        agent=handled.agent,
        tool=handled.tool,
        user=handled.user,
        credentials=handled.uses,
        decision=DENIED if handled.code else ALLOWED,
        code=handled.code or (CUT if handled.cut or not handled.status else ""),
        status=handled.status,
        latency_ms=round(handled.total * 1000, 3),
    )
