"""Anchors: what was cut off a chain's end since is found, and nobody but the gateway makes one."""

import json
import math
import random

import pytest

from gateway.domain.audit.anchor import read_anchor, write_anchor
from gateway.domain.audit.chains import Chains
from gateway.domain.audit.record import digest
from tests.domain.audit.chains import KEYS, chain, interleaved


def anchored(lines: list[str]) -> str:
    chains = Chains(KEYS, signed=True, gone_before=-math.inf)
    assert not any(map(chains.problem, lines))
    return write_anchor(chains.ends, 2000.0, "signer", KEYS["signer"])


def against(
    anchor: str, lines: list[str], *, gone_before: float = -math.inf
) -> tuple[str, str | None, int]:
    """The first bad record, or the chain that is cut; and how many chains cannot be compared."""
    chains = Chains(KEYS, signed=True, gone_before=gone_before, anchor=read_anchor(anchor, KEYS))
    for line in lines:
        if problem := chains.problem(line):
            return "record", problem, 0
    bad, passed = chains.against_anchor()
    return (bad[0], bad[1], passed) if bad else ("", None, passed)


def test_a_chain_that_goes_on_is_as_the_anchor_says() -> None:
    lines = chain("a", 20, end=False)
    assert against(anchored(lines[:12]), lines) == ("", None, 0)
    assert against(anchored(lines), lines) == ("", None, 0)


def test_every_cut_at_the_end_of_any_chain_is_found() -> None:
    lines = interleaved()
    anchor = anchored(lines)
    for cut in range(len(lines)):
        where, reason, _ = against(anchor, lines[:cut])
        assert where.startswith("chain "), cut
        assert reason is not None and ("ends with" in reason or "missing" in reason)


def test_a_chain_that_is_gone_as_a_whole_is_found() -> None:
    lines = interleaved()
    rest = [line for line in lines if json.loads(line)["chain"] != "b"]
    where, reason, _ = against(anchored(lines), rest, gone_before=math.inf)
    assert where == "chain b" and reason is not None and "missing" in reason


def test_a_record_in_place_of_the_anchored_one_is_found() -> None:
    """By somebody who has the key, even: the anchor is kept elsewhere."""
    where, reason, _ = against(anchored(chain("a", 5, start=500.0)), chain("a", 8))
    assert where == "record" and reason is not None and "anchor" in reason


def test_what_was_dropped_because_it_is_old_is_no_cut() -> None:
    old, new = chain("a", 10), chain("b", 10, start=2000.0)
    anchor = anchored(old)
    assert against(anchor, new, gone_before=math.inf) == ("", None, 1)
    assert against(anchor, new, gone_before=1500.0) == ("", None, 1)
    # Where it should still be there, it is.
    for gone_before in (-math.inf, 900.0):
        assert against(anchor, new, gone_before=gone_before)[0] == "chain a"
    # The same chain, of which the anchored record was dropped.
    assert against(anchored(old[:3]), old[6:], gone_before=math.inf) == ("", None, 1)


def test_nothing_at_all_is_never_what_was_kept() -> None:
    assert against(anchored(chain("a", 3)), [], gone_before=math.inf)[0] == "chain a"


def test_an_anchor_that_was_edited_anywhere_is_not_taken() -> None:
    anchor = anchored(interleaved())
    draw = random.Random(7)  # noqa: S311
    for _ in range(2000):
        at = draw.randrange(len(anchor))
        edited = anchor[:at] + draw.choice('0123456789abcdef"{}:,') + anchor[at + 1 :]
        try:
            same = json.loads(edited) == json.loads(anchor)
        except ValueError:
            same = False
        if not same:
            with pytest.raises(ValueError, match=r"changed|no anchor|not given"):
                read_anchor(edited, KEYS)


def test_an_anchor_that_was_spaced_or_ordered_anew_is_as_it_was_signed() -> None:
    anchor = anchored(interleaved())
    anew = json.dumps(json.loads(anchor), indent=2, sort_keys=True)
    assert read_anchor(anew, KEYS) == read_anchor(anchor, KEYS)


def test_a_record_is_no_anchor_and_an_unsigned_one_is_none() -> None:
    with pytest.raises(ValueError, match="no anchor"):
        read_anchor(chain("a", 1)[0], KEYS)
    with pytest.raises(ValueError, match="not given"):
        read_anchor(write_anchor([], 1.0, "", KEYS[""]), KEYS)


@pytest.mark.parametrize(
    "changes", [{"hmac": "\u00e9"}, {"hmac": 1}, {"kind": "another"}, {"signer": 1}]
)
def test_what_is_not_stated_as_an_anchor_is_none(changes: dict[str, object]) -> None:
    stated = json.loads(anchored(chain("a", 3))) | changes
    with pytest.raises(ValueError, match=r"no anchor|not given"):
        read_anchor(json.dumps(stated), KEYS)


@pytest.mark.parametrize(
    "text", ["", "x", "null", "7", '"hmac"', "[]", "[{}]", "{}", '{"hmac":""}']
)
def test_a_file_of_anything_else_is_no_anchor(text: str) -> None:
    with pytest.raises(ValueError, match="no anchor"):
        read_anchor(text, KEYS)


def test_what_is_signed_as_records_are_is_no_anchor() -> None:
    """Whoever may have records written can have nothing signed that is taken for an anchor."""
    stated = json.loads(anchored(chain("a", 3)))
    del stated["hmac"]
    signed = {**stated, "hmac": digest(stated, KEYS["signer"])}
    with pytest.raises(ValueError, match="changed"):
        read_anchor(json.dumps(signed), KEYS)
