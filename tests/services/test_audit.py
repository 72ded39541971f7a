"""Writing audit records goes on after what nobody foresaw, and says nothing that did not happen."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit import AuditEvent
from gateway.domain.audit_chains import Chains
from gateway.domain.errors import Denied
from gateway.services.audit import Audit

KEYS = audit_keys(MasterKeys((b"m" * 32,)))


class Broken:
    """A sink with a bug at its first write."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.calls = 0

    async def append(self, records: Sequence[str]) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls == 1:
            raise RuntimeError("a bug")
        self.written += records


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
    chains = Chains(KEYS.by_id, signed=True, trimmed=False)
    assert not any(map(chains.problem, sink.written))
