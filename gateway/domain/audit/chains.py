"""Verifying audit records: find the first record that is not as it was written."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from gateway.domain.audit.anchor import ChainEnd
from gateway.domain.audit.record import END, GENESIS, digest, read

# Clock skew allowed between the hosts that write to one stream.
SKEW_SECONDS = 5.0
_ACTS_ON_KEYS = "key."
_TORN = "only a part of it is there: the disk was full, power was lost, or somebody cut it"
_HASH = ',"hash":"'
_BEGINNING = '{"actor":'
_NO_ANCHOR: Mapping[str, ChainEnd] = MappingProxyType({})


@dataclass(slots=True)
class _Chain:
    seq: int
    hash: str
    ts: float
    signer: str
    ended: bool = False


class Chains:
    """Follows the chains of one stream or file, in the order of its records. `keys`: signing keys
    by the id of the signer.

    `signed`: unsigned records are refused, except acts on keys, which operators may do where there
    is no master key. Those are counted in `unsigned`. They prove nothing, because the key that they
    are hashed with is public. `gone_before`: records made before this instant may have been
    dropped, provided that all records of that age were.

    `late`: the number of chains whose beginning was dropped in this way. `torn`: the number of
    records that were written only in part, because the disk was full or the writer was killed; the
    acts they describe did not happen. `may_be_torn`: torn records are not a problem. `anchor`: how
    far each chain went, by its name.
    """

    def __init__(
        self,
        keys: Mapping[str, bytes],
        *,
        signed: bool,
        gone_before: float,
        may_be_torn: bool = False,
        anchor: Mapping[str, ChainEnd] = _NO_ANCHOR,
    ) -> None:
        self._keys = keys
        self._may_be_torn = may_be_torn
        self._anchor = dict(anchor)
        self.signed = signed
        self._gone_before = gone_before
        self._chains: dict[str, _Chain] = {}
        self._first_ts: float | None = None
        self.records = 0
        self.unsigned = 0
        self.first_unsigned = ""
        self.late = 0
        self.torn = 0

    @property
    def open(self) -> int:
        """Return how many chains have no end: their writers are running, or were killed."""
        return sum(not chain.ended for chain in self._chains.values())

    @property
    def count(self) -> int:
        return len(self._chains)

    def problem(self, text: str, where: str = "") -> str:
        """Return what is wrong with the next record, which was found at `where`; empty if it is as
        it was written."""
        record = _parsed(text)
        if record is None:
            if not (self._may_be_torn and _is_torn(text)):
                return _TORN if _is_torn(text) else "it is no audit record"
            self.torn += 1
            return ""
        self.records += 1
        # The earliest time so far: a record that claims to be later must not excuse a gap.
        earliest = self._first_ts
        self._first_ts = record["ts"] if earliest is None else min(record["ts"], earliest)
        found = self._forged(record) or self._misplaced(record) or self._unlike_anchor(record)
        if self.unsigned and not self.first_unsigned:
            self.first_unsigned = where
        return found

    @property
    def ends(self) -> list[ChainEnd]:
        return [ChainEnd(name, one.seq, one.hash, one.ts) for name, one in self._chains.items()]

    def against_anchor(self) -> tuple[tuple[str, str] | None, int]:
        """Return the first chain that ends before the anchor says it does, with the problem, or
        None; and how many chains cannot be compared because their records are no longer kept."""
        passed = 0
        for end in self._anchor.values():
            chain = self._chains.get(end.chain)
            if chain is not None and chain.seq < end.seq:
                problem = f"it ends with number {chain.seq}, and the anchor has number {end.seq}"
                return (f"chain {end.chain}", problem), passed
            if chain is None and not self._may_be_gone(end.ts):
                problem = f"it is missing, and the anchor has {end.seq} records of it"
                return (f"chain {end.chain}", problem), passed
            passed += 1
        return None, passed

    def _unlike_anchor(self, record: dict[str, Any]) -> str:
        end = self._anchor.get(record["chain"])
        if end is None or end.seq != record["seq"]:
            return ""
        # Each end is compared once.
        del self._anchor[end.chain]
        if hmac.compare_digest(end.hash, record["hash"]):
            return ""
        return f"the anchor has another record as number {end.seq} of its chain"

    def _may_be_gone(self, ts: float) -> bool:
        """Whether retention may have dropped a record of this time, and all older ones."""
        if self._first_ts is None:
            return False
        return ts <= min(self._first_ts, self._gone_before) + SKEW_SECONDS

    def _forged(self, record: dict[str, Any]) -> str:
        signer = record["signer"]
        if not signer and self.signed:
            before = self._chains.get(record["chain"])
            of_operators = record["event"] == END and before is not None
            if not (of_operators or record["event"].startswith(_ACTS_ON_KEYS)):
                return "it is not signed, though there is a master key"
            if before is not None and before.signer:
                return "it is not signed, though the one before it is"
            self.unsigned += 1
        key = self._keys.get(signer)
        if key is None:
            return f"it was signed under the master key {signer[:16]!r}, which is not given"
        right = hmac.compare_digest(digest(record, key), record["hash"])
        return "" if right else "it was changed, or made by somebody else"

    def _misplaced(self, record: dict[str, Any]) -> str:
        name, seq = record["chain"], record["seq"]
        before = self._chains.get(name)
        ended = record["event"] == END
        self._chains[name] = _Chain(seq, record["hash"], record["ts"], record["signer"], ended)
        if before is not None:
            if seq != before.seq + 1 or record["prev"] != before.hash:
                return f"it is number {seq} of its chain and follows number {before.seq}"
            return ""
        if seq == 1 and record["prev"] == GENESIS:
            return ""
        if not self._may_be_gone(record["prev_ts"]):
            return f"it is number {seq} of its chain, and those before it are missing"
        self.late += 1
        return ""


def _is_torn(text: str) -> bool:
    """Whether `text` is only the beginning of a record. Cutting a whole record to look like this
    leaves a gap in its chain."""
    begins = text.startswith(_BEGINNING) or (bool(text) and _BEGINNING.startswith(text))
    # The hash comes last, behind the braces of nested values.
    return begins and not (_HASH in text and text.endswith("}")) and not _is_json(text)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "ts": (int, float),
    "chain": str,
    "seq": int,
    "event": str,
    "signer": str,
    "prev": str,
    "prev_ts": (int, float),
    "hash": str,
}


def _parsed(text: str) -> dict[str, Any] | None:
    record = read(text)
    if record is None:
        return None
    whole = all(isinstance(record.get(name), kind) for name, kind in _KINDS.items())
    return record if whole and record["hash"].isascii() and _is_plain(text, record) else None


def _is_plain(text: str, record: Mapping[str, Any]) -> bool:
    """Whether every JSON reader finds the same values. Where a name stands twice, some readers take
    the first value, while the hash is made of the last one."""
    repeated = False

    def note_repeated(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) < len(pairs)

    try:
        # Text as the gateway wrote it needs no second look; reformatting by another program does no
        # harm.
        if orjson.dumps(record).decode() != text:
            json.loads(text, object_pairs_hook=note_repeated)
    except (TypeError, RecursionError):
        # Numbers and nesting that no record of ours has.
        return False
    return not repeated
