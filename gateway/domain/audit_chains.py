"""Reading audit records: which is the first that is not as it was written."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.domain.audit import END, GENESIS, digest

# Between the clocks of hosts that write to one stream.
SKEW_SECONDS = 5.0
_ACTS_ON_KEYS = "key."


@dataclass(slots=True)
class _Chain:
    seq: int
    hash: str
    ended: bool = False


class Chains:
    """Follows the chains of one stream or file, in its order. `keys`: by the id of who signed.

    `signed`: whether a record that nobody signed is refused; but for acts on keys, which operators
    may do where no master key is. Those are counted in `unsigned`. `trimmed`: whether the oldest
    may have been dropped, as a long stream and a rotated file do it.
    """

    def __init__(self, keys: Mapping[str, bytes], *, signed: bool, trimmed: bool) -> None:
        self._keys = keys
        self._signed = signed
        self._trimmed = trimmed
        self._chains: dict[str, _Chain] = {}
        self._first_ts: float | None = None
        self.records = 0
        self.unsigned = 0

    @property
    def open(self) -> int:
        """Chains without an end: their writers run, or were killed."""
        return sum(not chain.ended for chain in self._chains.values())

    @property
    def count(self) -> int:
        return len(self._chains)

    def problem(self, text: str) -> str:
        """What is wrong with the next record; empty where it is as it was written."""
        record = _parsed(text)
        if record is None:
            return "it is no audit record"
        self.records += 1
        if self._first_ts is None:
            self._first_ts = record["ts"]
        return self._forged(record) or self._misplaced(record)

    def _forged(self, record: dict[str, Any]) -> str:
        signer = record["signer"]
        if not signer and self._signed:
            of_operators = record["event"] == END and record["chain"] in self._chains
            if not (of_operators or record["event"].startswith(_ACTS_ON_KEYS)):
                return "it is not signed, though there is a master key"
            self.unsigned += 1
        key = self._keys.get(signer)
        if key is None:
            return f"it was signed under the master key {signer[:16]!r}, which is not given"
        try:
            right = hmac.compare_digest(digest(record, key), record["hash"])
        except TypeError:
            # Numbers that no record of ours holds.
            right = False
        return "" if right else "it was changed, or made by somebody else"

    def _misplaced(self, record: dict[str, Any]) -> str:
        name, seq = record["chain"], record["seq"]
        before = self._chains.get(name)
        self._chains[name] = _Chain(seq, record["hash"], record["event"] == END)
        if before is not None:
            if seq != before.seq + 1 or record["prev"] != before.hash:
                return f"it is number {seq} of its chain and follows number {before.seq}"
            return ""
        if seq == 1 and record["prev"] == GENESIS:
            return ""
        # What came before was trimmed; then all that is as old was trimmed too.
        assert self._first_ts is not None  # noqa: S101 (a record has been read)
        if not self._trimmed or record["prev_ts"] > self._first_ts + SKEW_SECONDS:
            return f"it is number {seq} of its chain, and those before it are missing"
        return ""


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
    try:
        record = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    whole = all(isinstance(record.get(name), kind) for name, kind in _KINDS.items())
    return record if whole and record["hash"].isascii() else None
