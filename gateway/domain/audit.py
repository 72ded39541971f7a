"""Audit records: who did what with which credential, chained so that none can be changed unseen."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# What the first record of a chain names as the one before it.
GENESIS = "0" * 64
ALLOWED, DENIED = "allowed", "denied"
# The last record of a chain whose writer ended well.
END = "audit.end"


@dataclass(frozen=True, slots=True)
class Named:
    """A version of a credential: its name, never its value."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One act. `event`: a noun and a verb, such as `credential.read`."""

    event: str
    request_id: str = ""
    key_id: str = ""
    consumer: str = ""
    agent: str = ""
    tool: str = ""
    user: str = ""
    credentials: tuple[Named, ...] = ()
    decision: str = ALLOWED
    code: str = ""
    status: int = 0
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """Where in which chain a record stands. `signer`: which key its hash is made with.

    `prev_ts`: when the record before it was made; 0: it is the first.
    """

    chain: str
    seq: int
    prev: str
    prev_ts: float
    signer: str


def record_of(event: AuditEvent, link: Link, ts: float, key: bytes) -> dict[str, Any]:
    """The record of `event`, hash included."""
    record: dict[str, Any] = {
        "ts": round(ts, 3),
        "chain": link.chain,
        "seq": link.seq,
        **asdict(event),
        "credentials": [asdict(named) for named in event.credentials],
        "signer": link.signer,
        "prev": link.prev,
        "prev_ts": link.prev_ts,
    }
    return {**record, "hash": digest(record, key)}


def digest(record: Mapping[str, Any], key: bytes) -> str:
    """The hash that a record has to carry: an HMAC over all else that is in it."""
    rest = {name: value for name, value in record.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(key, text.encode(), "sha256").hex()
