"""Refusals as audit records: each one of a key that was proven, floods folded into counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.domain.audit import DENIED, AuditEvent, Named
from gateway.domain.errors import DENIALS, Code
from gateway.domain.traffic import Handled
from gateway.services.audit_queue import AuditQueue

FOLD_SECONDS = 60.0
TICK_SECONDS = 1.0
# Of keys and codes in one minute; what is beyond is counted without its key.
MOST_FOLDS = 10_000

_LIMITS = frozenset(
    DENIALS[code].name
    for code in (Code.RATE_LIMITED, Code.CONCURRENCY_LIMITED, Code.QUOTA_EXHAUSTED)
)

Fold = tuple[str, str]


@dataclass(slots=True)
class _Folded:
    first: Handled
    ends: float
    count: int = 0


@asynccontextmanager
async def open_denials(
    queue: AuditQueue, on_canary: Callable[[], object]
) -> AsyncIterator["DenialAudit"]:
    """What was folded is put into the queue at its end."""
    denials = DenialAudit(queue, on_canary)
    folding = asyncio.create_task(denials.fold_on())
    try:
        yield denials
    finally:
        folding.cancel()
        await asyncio.gather(folding, return_exceptions=True)
        denials.close()


class DenialAudit:
    """`on_canary` is told of each use of a decoy."""

    def __init__(self, queue: AuditQueue, on_canary: Callable[[], object]) -> None:
        self._queue = queue
        self._on_canary = on_canary
        self._loop = asyncio.get_running_loop()
        self._folds: dict[Fold, _Folded] = {}

    def count(self, batch: Sequence[Handled]) -> None:
        """Requests that have ended."""
        events = []
        for handled in batch:
            if handled.decoy:
                self._on_canary()
                events.append(_decoyed(handled))
            elif handled.code and (event := self._event(handled)) is not None:
                events.append(event)
        if events:
            self._queue.put(events)

    def _event(self, handled: Handled) -> AuditEvent | None:
        """What is to be written now; None: it is counted, and told later."""
        if not handled.key_id:
            self._fold(("", handled.code), handled).count += 1
            return None
        if handled.code not in _LIMITS:
            return _told("request.denied", handled)
        known = (handled.key_id, handled.code) in self._folds
        folded = self._fold((handled.key_id, handled.code), handled)
        if known:
            folded.count += 1
            return None
        return _told("request.denied", handled)

    def _fold(self, fold: Fold, handled: Handled) -> _Folded:
        if fold not in self._folds and len(self._folds) >= MOST_FOLDS:
            fold = ("", handled.code)
        found = self._folds.get(fold)
        if found is None:
            found = self._folds[fold] = _Folded(handled, self._loop.time() + FOLD_SECONDS)
        return found

    async def fold_on(self) -> None:
        """Never ends by itself."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            self._end_folds([fold for fold, one in self._folds.items() if one.ends <= now])

    def _end_folds(self, folds: Sequence[Fold]) -> None:
        events = []
        for fold in folds:
            folded = self._folds.pop(fold)
            if folded.count:
                events.append(_summed(fold, folded))
        if events:
            self._queue.put(events)

    def close(self) -> None:
        self._end_folds(list(self._folds))


def _told(event: str, handled: Handled, used: tuple[Named, ...] = ()) -> AuditEvent:
    return AuditEvent(
        event,
        request_id=handled.request_id,
        key_id=handled.key_id,
        consumer=handled.consumer,
        agent=handled.agent,
        credentials=used,
        decision=DENIED,
        code=handled.code,
        status=handled.status,
        latency_ms=round(handled.total * 1000, 3),
    )


def _decoyed(handled: Handled) -> AuditEvent:
    if handled.decoy.startswith("key:"):
        return _told("canary.key", handled)
    return _told("canary.credential", handled, (Named(handled.decoy, 0),))


def _summed(fold: Fold, folded: _Folded) -> AuditEvent:
    key_id, code = fold
    first = folded.first
    return AuditEvent(
        "request.denied",
        key_id=key_id,
        consumer=first.consumer if key_id else "",
        decision=DENIED,
        code=code,
        status=first.status,
        count=folded.count,
    )
