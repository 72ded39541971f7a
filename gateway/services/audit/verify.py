"""Verifying audit records: each is checked against its chain, and chains against an anchor."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.crypto.audit_key import AuditKeys
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.settings import Retention
from gateway.domain.errors import OperationError
from gateway.store.audit import AuditStore

# A few milliseconds of a thread, so that whoever shares the process has its turns.
AT_ONCE = 500
_UNSIGNED = "it is not signed, though there is a master key: whoever can write there can make one"

Entry = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`bad`: where the first record is that is not as it was written, or which chain is cut, and
    `reason`; None: there is none. `open`: chains without an end. `late`: chains whose beginning
    is not kept any more. `torn`: records that were written in part. `passed`: chains of the anchor
    whose records are not kept any more. `complete`: all there was has been looked at.
    `signed`: there is a master key, without which forgers are not found. `unsigned`: records of
    acts on keys that nobody signed all the same; where none is bad otherwise, the first is `bad`
    unless it was said that they are meant."""

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
    """The stream, one verification at a time: it takes a good part of a core for seconds."""

    def __init__(self, store: AuditStore, keys: AuditKeys, retention: Retention) -> None:
        self._store = store
        self._keys = keys
        self._retention = retention
        self._busy = asyncio.Lock()

    async def verify(self, since: int, most: int) -> Verdict:
        """Of at most so many records from the Unix second `since` on. OperationError while another
        is under way."""
        if self._busy.locked():
            raise OperationError("The audit is being verified already: ask again in some seconds.")
        async with self._busy:
            # Whoever begins in the midst has not seen what came before.
            gone = math.inf if since else await self._store.gone_before(self._retention)
            signed = bool(self._keys.current)
            chains = Chains(self._keys.by_id, signed=signed, gone_before=gone)
            return await verify(self._store.read(f"{since}000-0"), chains, most)


async def verify(
    entries: AsyncIterator[Entry],
    chains: Chains,
    most: int | None = None,
    *,
    allow_unsigned: bool = False,
) -> Verdict:
    """`most`: how many records are looked at. `allow_unsigned`: acts on keys are known to be done
    where no master key is."""
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
    # Told last: what was changed all the same is worse.
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
