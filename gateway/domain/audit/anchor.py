"""Anchors: a signed statement of how far each chain went, kept where the records are not.

A chain that was cut at its end looks like one that was never longer; against an anchor it does not.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

_KIND = "gateway audit anchor"
# No record begins so: what signs records can be made to sign no anchor.
_DOMAIN = b"anchor\n"


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The last record of a chain: its number, its hash, and when it was made."""

    chain: str
    seq: int
    hash: str
    ts: float


def write_anchor(ends: Sequence[ChainEnd], made_at: float, signer: str, key: bytes) -> str:
    """As JSON, one line. `signer`: the id of the master key that `key` is of."""
    stated = {
        "kind": _KIND,
        "made_at": made_at,
        "signer": signer,
        "chains": [asdict(end) for end in ends],
    }
    return orjson.dumps({**stated, "hmac": _signature(stated, key)}).decode()


def read_anchor(text: str, keys: Mapping[str, bytes]) -> Mapping[str, ChainEnd]:
    """By the name of the chain; ValueError says what is wrong with it."""
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
