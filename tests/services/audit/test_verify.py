"""Verifying many records: the first bad one is found wherever it stands, and what was not looked
at is not judged."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from gateway.crypto.audit_key import AuditKeys
from gateway.domain.audit.anchor import read_anchor, write_anchor
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.settings import Retention
from gateway.domain.errors import OperationError
from gateway.services.audit.verify import AT_ONCE, AuditVerifier, Verdict, verify
from gateway.store.audit import FIELD, AuditStore
from tests.domain.audit.chains import KEYS, chain, unsigned

LINES = chain("a", 3 * AT_ONCE + 1)


async def stream(lines: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield f"line {number}", line


async def verified(
    lines: Sequence[str],
    most: int | None = None,
    *,
    anchored: Sequence[str] = (),
    allow_unsigned: bool = False,
) -> Verdict:
    before = Chains(KEYS, signed=True, gone_before=-math.inf)
    assert not any(map(before.problem, anchored))
    anchor = read_anchor(write_anchor(before.ends, 1.0, "signer", KEYS["signer"]), KEYS)
    chains = Chains(KEYS, signed=True, gone_before=-math.inf, anchor=anchor)
    return await verify(stream(lines), chains, most, allow_unsigned=allow_unsigned)


@pytest.mark.parametrize("length", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, len(LINES)])
async def test_every_record_is_looked_at_once(length: int) -> None:
    verdict = await verified(LINES[:length])
    assert (verdict.ok, verdict.records, verdict.complete) == (True, length, True)


@pytest.mark.parametrize("at", [0, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE - 1, len(LINES) - 1])
async def test_the_first_bad_record_is_found_wherever_it_stands(at: int) -> None:
    """The one behind it follows none that was as written, and so on."""
    lines = [*LINES]
    for number in (at, -1):
        lines[number] = lines[number].replace("credential", "credit")
    verdict = await verified(lines)
    assert (verdict.ok, verdict.bad) == (False, f"line {at}")
    assert verdict.reason is not None and "changed" in verdict.reason


@pytest.mark.parametrize("most", [1, AT_ONCE, AT_ONCE + 1, len(LINES) - 1])
async def test_so_many_are_looked_at_and_it_is_said_that_there_are_more(most: int) -> None:
    verdict = await verified(LINES, most)
    assert (verdict.ok, verdict.records, verdict.complete) == (True, most, False)
    assert (await verified(LINES[:most], most)).complete


async def test_a_chain_is_cut_only_where_all_was_looked_at() -> None:
    assert (await verified(LINES[:9], anchored=LINES[:10])).bad == "chain a"
    assert (await verified(LINES, 9, anchored=LINES[:10])).bad is None


async def test_acts_that_nobody_signed_are_told_where_nothing_is_worse() -> None:
    lines = [*LINES[:5], unsigned("key.create", chain="z")]
    verdict = await verified(lines)
    assert (verdict.bad, verdict.unsigned, verdict.open) == ("line 5", 1, 2)
    assert (await verified(lines, allow_unsigned=True)).ok
    worse = await verified([*lines, LINES[7]])
    assert worse.bad == "line 6"


async def test_each_number_of_a_verdict_is_what_its_name_says() -> None:
    old = [chain(f"old{number}", 1, start=1.0)[0] for number in range(5)]
    lines = [*chain("a", 3), *(chain(name, 2, end=False)[0] for name in "bc"), chain("d", 2)[1]]
    torn = [lines[0][:40], lines[1][:60]]
    before = Chains(KEYS, signed=True, gone_before=math.inf)
    assert not any(map(before.problem, old))
    kept = {end.chain: end for end in before.ends}
    chains = Chains(KEYS, signed=False, gone_before=math.inf, may_be_torn=True, anchor=kept)
    verdict = await verify(stream([*lines, *torn]), chains)
    assert (verdict.ok, verdict.signed, verdict.records, verdict.chains) == (True, False, 6, 4)
    assert (verdict.open, verdict.late, verdict.torn, verdict.passed) == (2, 1, 2, 5)


async def of_stream(client: Redis, lines: Sequence[str], records: int = 100) -> AuditVerifier:
    """Each record at the time that it says."""
    for line in lines:
        at = f"{json.loads(line)['ts'] * 1000:.0f}-0"
        await client.xadd("gw:audit", {FIELD: line}, id=at)
    return AuditVerifier(AuditStore(client, "gw:"), AuditKeys("signer", KEYS), Retention(records))


async def test_whoever_begins_in_the_midst_misses_nothing_of_what_came_before(
    client: Redis,
) -> None:
    lines = chain("a", 4)
    verifier = await of_stream(client, lines)
    assert (await verifier.verify(0, 100)).records == 4
    verdict = await verifier.verify(1003, 100)
    assert (verdict.ok, verdict.records, verdict.late) == (True, 2, 1)
    await client.xdel("gw:audit", "1001000-0")
    assert (await verifier.verify(0, 100)).bad == "1002000-0"
    assert (await (await of_stream(client, (), records=3)).verify(0, 100)).ok, "it was trimmed"


async def test_what_nobody_signed_is_bad_where_there_is_a_master_key(client: Redis) -> None:
    verifier = await of_stream(client, [unsigned("credential.use", ts=1.0)])
    verdict = await verifier.verify(0, 100)
    assert (verdict.ok, verdict.signed, verdict.bad) == (False, True, "1000-0")


async def test_one_verification_goes_on_at_a_time(client: Redis) -> None:
    verifier = await of_stream(client, LINES[:5])
    first, second = await asyncio.gather(
        verifier.verify(0, 100), verifier.verify(0, 100), return_exceptions=True
    )
    assert isinstance(first, Verdict) and first.ok
    assert isinstance(second, OperationError)
    assert (await verifier.verify(0, 100)).ok
