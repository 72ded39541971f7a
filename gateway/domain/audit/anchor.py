"""Anchors: signed statements of how far each audit chain went, stored away from the records.

A chain that was cut off at its end looks like a shorter chain. Comparing it with an anchor shows
the difference.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

_KIND = "gateway audit anchor"
# No audit record begins with this prefix, so a signer of records cannot be made to sign an anchor.
_DOMAIN = b"anchor\n"


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The last record of a chain: its number, its hash, and when it was made."""

    chain: str
    seq: int
    hash: str
    ts: float


def write_anchor(ends: Sequence[ChainEnd], made_at: float, signer: str, key: bytes) -> str:
    """Return the anchor as one line of JSON. `signer`: the id of the master key behind `key`."""
    stated = {
        "kind": _KIND,
        "made_at": made_at,
        "signer": signer,
        "chains": [asdict(end) for end in ends],
    }
    return orjson.dumps({**stated, "hmac": _signature(stated, key)}).decode()


def read_anchor(text: str, keys: Mapping[str, bytes]) -> Mapping[str, ChainEnd]:
    """Return the ends of the chains by chain name; ValueError says what is wrong with it."""
    try:
        stated = orjson.loads(text)
        signature, signer = stated.pop("hmac"), stated["signer"]
        right = stated["kind"] == _KIND and isinstance(signature, str) and signature.isascii()
    except (ValueError, TypeError, KeyError, AttributeError):
        right = False
    if not right:
        raise ValueError("it is no anchor as 'gateway audit anchor' writes it")
    if not isinstance(signer, str) or not signer or signer not in keys:
        raise ValueError("it was signed under a master key that is not given")
    if not hmac.compare_digest(_signature(stated, keys[signer]), signature):
        raise ValueError("it was changed, or made by somebody else")
    return {one["chain"]: ChainEnd(**one) for one in stated["chains"]}


def _signature(stated: Mapping[str, Any], key: bytes) -> str:
    text = orjson.dumps(stated, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(key, _DOMAIN + text, "sha256").hex()
