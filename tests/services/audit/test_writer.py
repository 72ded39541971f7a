"""Writing audit records goes on after what nobody foresaw, and says nothing that did not happen."""

import asyncio
import json
import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import AuditEvent
from gateway.domain.audit.settings import AuditFileSettings
from gateway.domain.errors import Code, Denied, StoreError
from gateway.services.audit import queue as audit_queue
from gateway.services.audit import writer
from gateway.services.audit.queue import AuditQueue
from gateway.services.audit.writer import Audit
from gateway.store.audit_file import AuditFile
from tests.stalling import stall

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


class HangingDisk(AuditFile):
    """A file on a disk that gives no answer until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(AuditFileSettings(path))
        self.answers = threading.Event()
        self.begun = 0

    def append(self, records: Sequence[bytes]) -> None:
        self.begun += 1
        assert self.answers.wait(60)
        super().append(records)


async def test_a_disk_that_hangs_refuses_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FILE_SECONDS", 0.05)
    kept, disk = Kept(), HangingDisk(tmp_path / "audit.jsonl")
    audit = Audit(kept, KEYS, disk)
    try:
        for _ in range(3):
            with pytest.raises(Denied) as refused:
                await audit.record(AuditEvent("refused"))
            assert refused.value.code is Code.AUDIT_UNAVAILABLE
        assert disk.begun == 1, "each would take one of few threads"
        assert kept.written == []
    finally:
        disk.answers.set()
    monkeypatch.undo()
    async with asyncio.timeout(30):
        while kept.written == []:
            await asyncio.sleep(0.01)
            with suppress(Denied):
                await audit.record(AuditEvent("done"))
    assert [json.loads(record)["event"] for record in kept.written] == ["done"]


async def test_a_disk_that_took_a_record_while_this_process_stalled_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FILE_SECONDS", 0.5)
    kept, disk = Kept(), HangingDisk(tmp_path / "audit.jsonl")
    audit = Audit(kept, KEYS, disk)
    recorded = audit.record(AuditEvent("done"))
    while not disk.begun:
        await asyncio.sleep(0)
    await stall(0.8, disk.answers.set)
    await recorded
    assert len(kept.written) == 1


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
    with capture_logs() as logs:
        queue.put([AuditEvent("failed"), AuditEvent("failed")])
        queue.put([AuditEvent("failed"), AuditEvent("one too many")])
        assert lost == [1]
        await queue.close()
    assert sum(lost) == 4
    assert [one["event"] for one in logs].count("audit_records_lost") == 1, "once a second"
    queue.put([AuditEvent("first"), AuditEvent("second")])
    queue.put([AuditEvent("third")])
    await queue.close()
    assert [json.loads(one)["event"] for one in sink.written] == ["first", "second", "third"]
    assert sum(lost) == 4


class Unsure:
    """A sink that takes every second write, and of the others says that it is not certain."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.sizes: list[int] = []

    async def append(self, records: Sequence[bytes]) -> None:
        self.sizes.append(len(records))
        await asyncio.sleep(0)
        self.written += [record.decode() for record in records]
        if len(self.sizes) % 2:
            raise StoreError("The answer was lost.")


async def test_after_a_write_of_which_nobody_knows_another_chain_begins() -> None:
    """Whether it was written or not, what follows is good, and so is what came before."""
    sink, told = Unsure(), list[tuple[str, int]]()
    audit = Audit(sink, KEYS, on_failure=lambda *problem: told.append(problem))
    for number in range(6):
        with suppress(Denied):
            await audit.record(AuditEvent(f"event-{number}"))
    for kept in (sink.written, sink.written[1::2]):
        chains = Chains(KEYS.by_id, signed=True, gone_before=-math.inf)
        assert not any(map(chains.problem, kept))
    assert told == [("The answer was lost.", 1)] * 3
    await asyncio.sleep(0.01)
    assert audit.lag == 0.0, "none is under way"


async def test_what_is_asked_for_while_a_write_is_under_way_goes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "MOST_AT_ONCE", 5)
    sink = Unsure()
    audit = Audit(sink, KEYS)
    first = audit.record(AuditEvent("first"))
    await asyncio.sleep(0)
    others = [audit.record(AuditEvent(f"{number}")) for number in range(12)]
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert sink.sizes == [1, 5, 5, 2]
    assert [isinstance(one, Denied) for one in outcomes] == [True, *[False] * 5, *[True] * 5] + [
        False
    ] * 2


async def test_a_writer_of_nothing_has_no_chain_and_any_other_says_where_it_ended() -> None:
    for written in ([], ["event"]):
        sink = Kept()
        audit = Audit(sink, KEYS)
        for event in written:
            await audit.record(AuditEvent(event))
        await audit.close()
        told = [json.loads(one)["event"] for one in sink.written]
        assert told == ([*written, "audit.end"] if written else [])
