"""Refusals as audit records: one each for a proven key, floods folded into counts. Requests that
were let in although a rule with `enforce: false` would have refused them are recorded in the same
way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.domain.audit.events import Event
from gateway.domain.audit.record import DENIED, SHADOW, AuditEvent, Named
from gateway.domain.errors import DENIALS, Code
from gateway.domain.keys.key import masked
from gateway.domain.traffic import Handled
from gateway.services.audit.queue import AuditQueue
from gateway.tasks import cancel_and_wait, unending

FOLD_SECONDS = 60.0
TICK_SECONDS = 1.0
# Keys and codes in one minute; beyond that, refusals are counted without their key.
MOST_FOLDS = 10_000

_LIMITS = frozenset(
    DENIALS[code].name
    for code in (Code.RATE_LIMITED, Code.CONCURRENCY_LIMITED, Code.QUOTA_EXHAUSTED)
)

_DENIED: Final = "request.denied"
_SHADOWED: Final = "request.shadow"

# Event, key and code.
Fold = tuple[Event, str, str]


@dataclass(slots=True)
class _Folded:
    first: Handled
    ends: float
    count: int = 0


@asynccontextmanager
async def open_denials(
    queue: AuditQueue, on_canary: Callable[[], object]
) -> AsyncIterator["DenialAudit"]:
    """Yield the audit of refusals; the counts so far are queued when it closes."""
    denials = DenialAudit(queue, on_canary)
    folding = unending(denials.fold_on)
    try:
        yield denials
    finally:
        await cancel_and_wait(folding)
        denials.close()


class DenialAudit:
    """`on_canary` is called for each use of a decoy."""

    def __init__(self, queue: AuditQueue, on_canary: Callable[[], object]) -> None:
        self._queue = queue
        self._on_canary = on_canary
        self._loop = asyncio.get_running_loop()
        self._folds: dict[Fold, _Folded] = {}

    def count(self, batch: Sequence[Handled]) -> None:
        """Take requests that have ended."""
        events = []
        for handled in batch:
            if handled.decoy:
                self._on_canary()
                events.append(_decoy_event(handled))
            elif handled.code and (event := self._event(handled)) is not None:
                events.append(event)
            if handled.shadow:
                shadowed = handled._replace(code=handled.shadow)
                if (event := self._first(_SHADOWED, shadowed)) is not None:
                    events.append(event)
        if events:
            self._queue.put(events)

    def _event(self, handled: Handled) -> AuditEvent | None:
        """Return the event to write now; None: it is counted, and written later."""
        if not handled.key_id:
            self._fold((_DENIED, "", handled.code), handled)[0].count += 1
            return None
        if handled.code not in _LIMITS:
            return _denial_event(_DENIED, handled)
        return self._first(_DENIED, handled)

    def _first(self, event: Event, handled: Handled) -> AuditEvent | None:
        """Return the event of this key's and code's first refusal in a minute, else count it."""
        folded, known = self._fold((event, handled.key_id, handled.code), handled)
        if known:
            folded.count += 1
            return None
        return _denial_event(event, handled)

    def _fold(self, fold: Fold, handled: Handled) -> tuple[_Folded, bool]:
        """Return the fold that counts it, and whether it existed before."""
        if fold not in self._folds and len(self._folds) >= MOST_FOLDS:
            fold = fold[0], "", handled.code
        found = self._folds.get(fold)
        if found is not None:
            return found, True
        found = self._folds[fold] = _Folded(handled, self._loop.time() + FOLD_SECONDS)
        return found, False

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
                events.append(_folded_event(fold, folded))
        if events:
            self._queue.put(events)

    def close(self) -> None:
        self._end_folds(list(self._folds))


def _denial_event(event: Event, handled: Handled, used: tuple[Named, ...] = ()) -> AuditEvent:
    return AuditEvent(
        event,
        request_id=handled.request_id,
        key_id=handled.key_id,
        consumer=handled.consumer,
        agent=handled.agent,
        # A caller who is refused may have put anything into a name.
        tool=masked(handled.wanted),
        user=handled.user,
        credentials=used,
        decision=_decision(event),
        code=handled.code,
        status=handled.status,
        latency_ms=round(handled.total * 1000, 3),
    )


def _decision(event: Event) -> str:
    return SHADOW if event == _SHADOWED else DENIED


def _decoy_event(handled: Handled) -> AuditEvent:
    if handled.decoy.startswith("key:"):
        return _denial_event("canary.key", handled)
    return _denial_event("canary.credential", handled, (Named(handled.decoy, 0),))


def _folded_event(fold: Fold, folded: _Folded) -> AuditEvent:
    event, key_id, code = fold
    first = folded.first
    return AuditEvent(
        event,
        key_id=key_id,
        consumer=first.consumer if key_id else "",
        decision=_decision(event),
        code=code,
        status=first.status,
        count=folded.count,
    )
