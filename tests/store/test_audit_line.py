"""The audit stream as workers write it: in order, all or none, and never in doubt."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import AuditEvent
from gateway.domain.audit.settings import Retention
from gateway.domain.errors import Denied, StoreError
from gateway.domain.settings import StoreSettings
from gateway.services.audit.writer import Audit
from gateway.store.audit import AuditStore
from gateway.store.audit_line import AuditLine
from gateway.store.connections.connect import open_lines
from gateway.store.connections.multiplex import Multiplexer
from tests.flows.own_store import own_store

KEYS = audit_keys(MasterKeys((b"m" * 32,)))
KEPT = Retention()


async def lined(store: StoreSettings, retention: Retention = KEPT) -> AuditLine:
    lines = open_lines(store)
    assert isinstance(lines, Multiplexer)
    return AuditLine(lines, "gw:", retention)


@pytest.fixture
async def line(store: StoreSettings) -> AsyncIterator[AuditLine]:
    made = await lined(store)
    yield made
    await made.close()


async def first_bad(client: Redis) -> tuple[str, int]:
    """What is wrong with the stream, and how many records were looked at."""
    chains = Chains(KEYS.by_id, signed=True, gone_before=-math.inf)
    async for _, record in AuditStore(client, "gw:").read():
        problem = chains.problem(record)
        if problem:
            return problem, chains.records
    return "", chains.records


async def test_a_thousand_at_once_are_all_there_in_one_chain(
    line: AuditLine, client: Redis
) -> None:
    audit = Audit(line, KEYS)
    await asyncio.gather(*(audit.record(AuditEvent("x", request_id=str(i))) for i in range(1000)))
    await audit.close()
    assert await first_bad(client) == ("", 1001)


async def test_of_several_all_are_written_or_none(line: AuditLine, client: Redis) -> None:
    await line.append([b"a", b"b", b"c"])
    assert await client.xlen("gw:audit") == 3
    await client.delete("gw:audit")
    await client.set("gw:audit", "no stream")
    for records in ([b"a"], [b"a", b"b"]):
        with pytest.raises(StoreError):
            await line.append(records)
    await client.delete("gw:audit")
    await line.append([b"d"])
    assert [r async for _, r in AuditStore(client, "gw:").read()] == ["d"]


@pytest.mark.parametrize("by_line", [True, False])
async def test_the_stream_keeps_so_many_and_none_that_are_too_old(
    by_line: bool, store: StoreSettings, client: Redis
) -> None:
    """Ages are by Redis' own clock, and a block is dropped once all of it is too old."""
    retention = Retention(300, 3600.0)
    sink = await lined(store, retention) if by_line else AuditStore(client, "gw:", retention)
    audit = Audit(sink, KEYS)
    now = int((await client.time())[0])
    for at in range(200):
        await client.xadd("gw:audit", {"record": "old"}, id=f"{(now - 7200) * 1000 + at}-0")
    for at in range(4):
        await asyncio.gather(*(audit.record(AuditEvent("x")) for _ in range(25)))
        kept = [r async for _, r in AuditStore(client, "gw:").read()]
        # A stream's blocks hold a hundred entries; the first write does not know the time yet.
        assert kept.count("old") == (200 if at == 0 else 0)
    for _ in range(8):
        await asyncio.gather(*(audit.record(AuditEvent("x")) for _ in range(100)))
    # Every other write trims by number.
    assert 300 <= await client.xlen("gw:audit") < 600
    await audit.close()
    if isinstance(sink, AuditLine):
        await sink.close()


async def test_what_was_acknowledged_is_there_however_the_store_ends() -> None:
    """Killed under load again and again: acknowledged is recorded, and no chain has a hole."""
    async with own_store() as store:
        line = await lined(store.settings)
        audit = Audit(line, KEYS)
        acknowledged: set[str] = set()
        refused = 0
        number = iter(range(10**9))

        async def write() -> None:
            nonlocal refused
            name = str(next(number))
            try:
                await audit.record(AuditEvent("x", request_id=name))
            except Denied:
                refused += 1
            else:
                acknowledged.add(name)

        for _ in range(5):
            writing = [asyncio.create_task(write()) for _ in range(200)]
            await asyncio.sleep(0.01)
            store.kill()
            await asyncio.gather(*writing, *(write() for _ in range(5)))
            await store.start()
            async with asyncio.timeout(10):
                before = len(acknowledged)
                while len(acknowledged) == before:
                    await write()
        problem, _ = await first_bad(store.client)
        assert problem == ""
        kept = [r async for _, r in AuditStore(store.client, "gw:").read()]
        recorded = "".join(kept)
        assert refused and acknowledged
        assert all(f'"request_id":"{name}"' in recorded for name in acknowledged)
        await audit.close()
        await line.close()
