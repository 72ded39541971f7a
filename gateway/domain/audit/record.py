"""Audit records: who did what with which credential, chained so that every change is noticed."""

import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from gateway.domain.audit.events import Event
from gateway.domain.facts import fact
from gateway.domain.keys.record import well_formed

# The `prev` hash of the first record of a chain.
GENESIS = "0" * 64
ALLOWED, DENIED = "allowed", "denied"
# The request was let in, although a rule with `enforce: false` would have refused it.
SHADOW = "shadow"
# The last record of a chain whose writer shut down cleanly.
END: Final = "audit.end"

# Returns the HMAC of a text, in hexadecimal digits.
Seal = Callable[[bytes], str]

_json = orjson.dumps
# Fields in alphabetical order, which is the order that `digest` hashes them in. Most fields of a
# record equal those of the previous record of the same caller, so they are cached: building each
# record from a mapping took half as long again.
_RECORD = b'%b,"latency_ms":%b,"prev":"%b","prev_ts":%b,"request_id":%b,"seq":%d,%b,"ts":%b,%b'


class Named(NamedTuple):
    """A version of a credential: its name, never its value."""

    name: str
    version: int


@fact
class AuditEvent:
    """One act. `actor`: who did it, if it was not the caller of a request: `operator:ann`,
    `key:4xT9mQ2LrB7c`. `count`: how many acts this record stands for."""

    event: Event
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


class Chain:
    """The records of one writer, each of which holds the hash of the one before it. `seal` computes
    the hashes, under the key of `signer`."""

    def __init__(self, name: str, seal: Seal, signer: str) -> None:
        self.name = name
        self.seq = 0
        self._seal = seal
        self._signer = signer
        self._prev, self._prev_ts = GENESIS.encode(), _json(0.0)

    def add(self, event: AuditEvent, ts: float) -> bytes:
        """Return the next record as JSON. TypeError or ValueError if `event` cannot be encoded: the
        chain is then unchanged."""
        e = event
        begin, middle, end = _encoded(
            (e.actor, e.agent, self.name, e.code, e.consumer, e.count, e.credentials),
            (e.decision, e.event, e.key_id, self._signer, e.status, e.tool, e.user),
        )
        latency, request_id, now = _json(e.latency_ms), _json(e.request_id), _json(ts)
        seq, prev, prev_ts = self.seq + 1, self._prev, self._prev_ts
        text = _RECORD % (begin, latency, prev, prev_ts, request_id, seq, middle, now, end)
        self.seq, self._prev, self._prev_ts = seq, self._seal(text).encode(), now
        return b'%b,"hash":"%b"}' % (text[:-1], self._prev)


@lru_cache(maxsize=1024)
def _encoded(
    first: tuple[str, str, str, str, str, int, tuple[Named, ...]],
    then: tuple[str, str, str, str, int, str, str],
) -> tuple[bytes, bytes, bytes]:
    """Return the parts of a record before, between and after the fields that differ each time."""
    actor, agent, chain, code, consumer, count, credentials = first
    decision, event, key_id, signer, status, tool, user = then
    begin = {
        "actor": well_formed(actor),
        "agent": agent,
        "chain": chain,
        "code": code,
        "consumer": well_formed(consumer),
        "count": count,
        "credentials": [{"name": one.name, "version": one.version} for one in credentials],
        "decision": decision,
        "event": event,
        "key_id": key_id,
    }
    middle = {"signer": signer, "status": status, "tool": well_formed(tool)}
    return _json(begin)[:-1], _json(middle)[1:-1], _json({"user": user})[1:]


def read(text: str) -> dict[str, Any] | None:
    """Return the JSON object in `text`, whatever it says; None if `text` is not one."""
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def digest(record: Mapping[str, Any], key: bytes) -> str:
    """Return the hash that a record must carry: an HMAC of its other fields, sorted by name."""
    rest = {name: value for name, value in record.items() if name != "hash"}
    text = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key, text, "sha256").hex()
