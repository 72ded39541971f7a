"""Results of tool calls as audit records: each call was on record before it was made."""

from collections.abc import Sequence

from gateway.domain.audit.record import ALLOWED, DENIED, AuditEvent
from gateway.domain.traffic import Handled
from gateway.services.audit.queue import AuditQueue

# In place of a refusal's code: the answer was cut off, or the caller left before it began.
CUT = "cut"


class ToolResults:
    """A reader of the journal."""

    def __init__(self, queue: AuditQueue) -> None:
        self._queue = queue

    def count(self, batch: Sequence[Handled]) -> None:
        """Record the results of requests that have ended."""
        if events := [_result(handled) for handled in batch if handled.tool]:
            self._queue.put(events)


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
