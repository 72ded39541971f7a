"""A queue of audit records about the past: nobody waits for them, and lost ones are counted."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.domain.audit.record import AuditEvent
from gateway.domain.errors import Denied
from gateway.log import Seldom, log
from gateway.services.audit.writer import Audit
from gateway.tasks import Tasks

# A store that hangs for minutes must not fill the memory.
MOST_WAITING = 10_000


class AuditQueue:
    """`on_lost` is told how many records were lost: acts without a credential go on anyway."""

    def __init__(self, audit: Audit, on_lost: Callable[[int], object]) -> None:
        self._audit = audit
        self._on_lost = on_lost
        self._lately_lost = Seldom(asyncio.get_running_loop().time)
        self._writing = Tasks()
        self._waiting = 0

    def put(self, events: Sequence[AuditEvent]) -> None:
        """Write these soon, in this order."""
        taken = events[: max(0, MOST_WAITING - self._waiting)]
        if len(taken) < len(events):
            self._lost(len(events) - len(taken))
        if not taken:
            return
        self._waiting += len(taken)
        self._writing.begin(self._record(taken))

    async def close(self) -> None:
        """Wait until the queued records are written."""
        if self._writing:
            await asyncio.wait(self._writing)

    async def _record(self, events: Sequence[AuditEvent]) -> None:
        lost = 0
        # They are written together, so in effect only the first one is waited for.
        for written in [self._audit.record(event) for event in events]:
            try:
                await written
            except Denied:
                lost += 1
        self._waiting -= len(events)
        if lost:
            self._lost(lost)

    def _lost(self, records: int) -> None:
        self._on_lost(records)
        if told := self._lately_lost.due(records):
            log.error("audit_records_lost", records=told)
