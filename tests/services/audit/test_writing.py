"""Writing audit records goes on after what nobody foresaw, and says nothing that did not happen."""

import asyncio
import json
import math
from collections.abc import Sequence

import pytest

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import AuditEvent
from gateway.domain.errors import Denied
from gateway.services.audit import queue as audit_queue
from gateway.services.audit.queue import AuditQueue
from gateway.services.audit.writing import Audit

KEYS = audit_keys(MasterKeys((b"m" * 32,)))


class Broken:
    """A sink with a bug at its first write."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.calls = 0

    async def append(self, records: Sequence[bytes]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls == 1:
            raise RuntimeError("a bug")
        self.written += [record.decode() for record in records]


async def test_a_bug_in_writing_fails_what_waits_and_ends_nothing_else() -> None:
    sink = Broken()
    audit = Audit(sink, KEYS)
    first = audit.record(AuditEvent("first"))
    await asyncio.sleep(0)
    second = audit.record(AuditEvent("second"))
    for waiting in (first, second):
        with pytest.raises(Denied):
            await waiting
    await audit.record(AuditEvent("third"))
    await audit.close()
    assert [json.loads(record)["event"] for record in sink.written] == ["third", "audit.end"]
    chains = Chains(KEYS.by_id, signed=True, gone_before=-math.inf)
    assert not any(map(chains.problem, sink.written))


class Kept:
    """A sink that takes everything."""

    def __init__(self) -> None:
        self.written: list[str] = []

    async def append(self, records: Sequence[bytes]) -> None:
        self.written += [record.decode() for record in records]


async def test_an_event_that_cannot_be_written_fails_alone() -> None:
    """What a stranger puts into one must not keep others from theirs."""
    sink, told = Kept(), list[int]()
    audit = Audit(sink, KEYS, on_failure=lambda _, records: told.append(records))
    events = [AuditEvent("first"), AuditEvent("bad", user="\ud800"), AuditEvent("third")]
    outcomes = await asyncio.gather(*map(audit.record, events), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), Denied, type(None)]
    await audit.close()
    assert [json.loads(one)["seq"] for one in sink.written] == [1, 2, 3]
    chains = Chains(KEYS.by_id, signed=True, gone_before=-math.inf)
    assert not any(map(chains.problem, sink.written))
    assert (chains.count, chains.open, told) == (1, 0, [1])


async def test_what_nobody_waits_for_is_written_in_order_and_what_is_lost_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_queue, "MOST_WAITING", 3)
    sink, lost = Broken(), list[int]()
    audit = Audit(sink, KEYS)
    queue = AuditQueue(audit, lost.append)
    queue.put([AuditEvent("failed"), AuditEvent("failed")])
    queue.put([AuditEvent("failed"), AuditEvent("one too many")])
    assert lost == [1]
    await queue.close()
    assert sum(lost) == 4
    queue.put([AuditEvent("first"), AuditEvent("second")])
    queue.put([AuditEvent("third")])
    await queue.close()
    assert [json.loads(one)["event"] for one in sink.written] == ["first", "second", "third"]
    assert sum(lost) == 4
