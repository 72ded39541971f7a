"""Verifying audit records: each against its chain, and chains against an anchor."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.crypto.audit_key import AuditKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.settings import Retention
from gateway.domain.errors import OperationError
from gateway.store.audit import AuditStore, at

# A few milliseconds of a thread, so that other work in the process has its turn.
AT_ONCE = 500
_UNSIGNED = "it is not signed, though there is a master key: whoever can write there can make one"

Entry = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`bad`: the place of the first record that is not as it was written, or the chain that is cut
    off, with the `reason`; None: there is none. `open`: chains without an end. `late`: chains whose
    beginning is no longer kept. `torn`: records that were written only in part. `passed`: chains of
    the anchor whose records are no longer kept. `complete`: all records were looked at. `signed`:
    there is a master key; without one, forgeries are not found. `unsigned`: acts on keys that are
    not signed although there is a master key; if nothing else is bad, the first of them is `bad`,
    unless they were declared to be intended."""

    ok: bool
    records: int
    chains: int
    open: int
    unsigned: int
    late: int
    torn: int
    passed: int
    complete: bool
    signed: bool
    bad: str | None
    reason: str | None


class AuditVerifier:
    """Verifies the stream, one verification at a time: it takes much of a core for seconds."""

    def __init__(self, store: AuditStore, keys: AuditKeys, retention: Retention) -> None:
        self._store = store
        self._keys = keys
        self._retention = retention
        self._busy = asyncio.Lock()

    async def verify(self, since: int, most: int) -> Verdict:
        """Verify at most `most` records from the Unix second `since` on. OperationError while
        another verification runs."""
        if self._busy.locked():
            raise OperationError("The audit is being verified already: ask again in some seconds.")
        async with self._busy:
            # A verification that begins in the middle has not seen what came before.
            gone = math.inf if since else await self._store.gone_before(self._retention)
            signed = bool(self._keys.current)
            chains = Chains(self._keys.by_id, signed=signed, gone_before=gone)
            return await verify(self._store.read(at(since)), chains, most)


async def verify(
    entries: AsyncIterator[Entry],
    chains: Chains,
    most: int | None = None,
    *,
    allow_unsigned: bool = False,
) -> Verdict:
    """Verify `entries`. `most`: how many records are looked at. `allow_unsigned`: acts on keys are
    known to be done where there is no master key."""
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
    # Checked last: a changed record is worse.
    if bad is None and chains.unsigned and not allow_unsigned:
        bad = chains.first_unsigned, _UNSIGNED
    return _verdict(chains, bad, passed, complete=complete)


def _first_bad(batch: Sequence[Entry], chains: Chains) -> Entry | None:
    for where, record in batch:
        if problem := chains.problem(record, where):
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
        signed=chains.signed,
        bad=None if bad is None else bad[0],
        reason=None if bad is None else bad[1],
    )
