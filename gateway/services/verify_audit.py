"""Verifying audit records: each is checked against its chain, and chains against an anchor."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.domain.audit_chains import Chains

# A few milliseconds of a thread, so that whoever shares the process has its turns.
AT_ONCE = 500

Entry = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`bad`: where the first record is that is not as it was written, or which chain is cut, and
    `reason`; None: there is none. `open`: chains without an end. `late`: chains whose beginning
    is not kept any more. `torn`: records that were written in part. `passed`: chains of the anchor
    whose records are not kept any more. `complete`: all there was has been looked at."""

    ok: bool
    records: int
    chains: int
    open: int
    unsigned: int
    late: int
    torn: int
    passed: int
    complete: bool
    bad: str | None
    reason: str | None


async def verify(entries: AsyncIterator[Entry], chains: Chains, most: int | None = None) -> Verdict:
    """`most`: how many records are looked at."""
    complete = True
    bad: Entry | None = None
    batch: list[Entry] = []
    async for entry in entries:
        if most is not None and chains.records + len(batch) >= most:
            complete = False
            break
        batch.append(entry)
        if len(batch) == AT_ONCE:
            bad = await asyncio.to_thread(_first_bad, batch, chains)
            batch = []
            if bad:
                break
    bad = bad or await asyncio.to_thread(_first_bad, batch, chains)
    passed = 0
    if bad is None and complete:
        bad, passed = chains.against_anchor()
    return _verdict(chains, bad, passed, complete=complete)


def _first_bad(batch: Sequence[Entry], chains: Chains) -> Entry | None:
    for where, record in batch:
        if problem := chains.problem(record):
            return where, problem
    return None


def _verdict(chains: Chains, bad: Entry | None, passed: int, *, complete: bool) -> Verdict:
    return Verdict(
        ok=bad is None,
        records=chains.records,
        chains=chains.count,
        open=chains.open,
        unsigned=chains.unsigned,
        late=chains.late,
        torn=chains.torn,
        passed=passed,
        complete=complete,
        bad=None if bad is None else bad[0],
        reason=None if bad is None else bad[1],
    )
