"""Audit records: who did what with which credential, chained so that none can be changed unseen."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.domain.facts import fact
from gateway.domain.keys.record import well_formed

# What the first record of a chain names as the one before it.
GENESIS = "0" * 64
ALLOWED, DENIED = "allowed", "denied"
# Let in, though a rule that is tried out would have refused it.
SHADOW = "shadow"
# The last record of a chain whose writer ended well.
END = "audit.end"


@dataclass(frozen=True, slots=True)
class Named:
    """A version of a credential: its name, never its value."""

    name: str
    version: int


@fact
class AuditEvent:
    """One act. `event`: a noun and a verb, such as `credential.read`. `actor`: who did it, where
    that is not the caller of a request: `operator:ann`, `key:4xT9mQ2LrB7c`. `count`: how many
    such acts this record stands for."""

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
    actor: str = ""
    count: int = 1


@fact
class Link:
    """Where in which chain a record stands. `signer`: which key its hash is made with.

    `prev_ts`: when the record before it was made; 0: it is the first.
    """

    chain: str
    seq: int
    prev: str
    prev_ts: float
    signer: str


def sealer(key: bytes) -> hmac.HMAC:
    """What makes hashes with `key`; preparing it takes as long as a record."""
    return hmac.new(key, digestmod="sha256")


def record_of(event: AuditEvent, link: Link, ts: float, seal: hmac.HMAC) -> tuple[str, str]:
    """The record of `event` as JSON, hash included, and that hash."""
    # In the order of the names, as `digest` has them: sorting them anew took as long as the rest.
    record = {
        "actor": well_formed(event.actor),
        "agent": event.agent,
        "chain": link.chain,
        "code": event.code,
        "consumer": well_formed(event.consumer),
        "count": event.count,
        "credentials": [{"name": one.name, "version": one.version} for one in event.credentials],
        "decision": event.decision,
        "event": event.event,
        "key_id": event.key_id,
        "latency_ms": event.latency_ms,
        "prev": link.prev,
        "prev_ts": link.prev_ts,
        "request_id": event.request_id,
        "seq": link.seq,
        "signer": link.signer,
        "status": event.status,
        "tool": well_formed(event.tool),
        "ts": ts,
        "user": event.user,
    }
    text = orjson.dumps(record)
    hashed = seal.copy()
    hashed.update(text)
    found = hashed.hexdigest()
    return f'{text[:-1].decode()},"hash":"{found}"}}', found


def digest(record: Mapping[str, Any], key: bytes) -> str:
    """The hash that a record has to carry: an HMAC over all else that is in it, in the order of
    the names."""
    rest = {name: value for name, value in record.items() if name != "hash"}
    text = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key, text, "sha256").hex()
