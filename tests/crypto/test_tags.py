"""Tags: proof of a key for whoever holds the pepper, and worth nothing to anyone else."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto.tags import Peppers, TagVerdict, make_tag
from tests.crypto.proofs import proofs

PEPPER, OTHER = bytes(range(32)), bytes(range(1, 33))
KEY = "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKLxxxxxx"
PHC = "$argon2id$v=19$m=19456,t=2,p=1$Xf7iTNzdsOMZY/K0LOIVbg$FqFu2T8tEUkXAPcXJhiuak36KOgN6fIp"
TAG = make_tag(PEPPER, KEY, PHC)
PEPPERS = Peppers((PEPPER,))


def test_a_tag_is_made_as_the_records_page_says() -> None:
    pid = hashlib.sha256(PEPPER).hexdigest()[:8]
    fp = hashlib.sha256(PHC.encode()).hexdigest()[:16]
    mac = hmac.new(PEPPER, f"{KEY}\n{PHC}".encode(), hashlib.sha256).hexdigest()
    assert f"{pid}:{fp}:{mac}" == TAG


@given(st.text(), st.text(), st.binary(min_size=32, max_size=32))
def test_a_tag_matches_its_own_key_and_no_other(key: str, phc: str, pepper: bytes) -> None:
    peppers = Peppers((pepper,))
    tag = peppers.make(key, phc)
    assert peppers.verdict(tag, key, phc) is TagVerdict.MATCH
    assert peppers.verdict(tag, key + "x", phc) is TagVerdict.MISMATCH
    assert peppers.verdict(tag, key, phc + "x") is TagVerdict.UNUSABLE


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "x",
        TAG.upper(),
        TAG + "0",
        TAG[:-1],
        TAG + "\n",
        " " + TAG,
        TAG.replace(":", "-"),
        "00000000" + TAG[8:],
        TAG[:9] + "0" * 16 + TAG[25:],
        make_tag(OTHER, KEY, PHC),
        make_tag(PEPPER, KEY, PHC + "x"),
    ],
)
def test_what_says_nothing_of_this_hash_is_unusable_and_never_a_refusal(tag: str) -> None:
    """Empty, malformed, of an unknown pepper, or of another hash: argon2 decides."""
    assert PEPPERS.verdict(tag, KEY, PHC) is TagVerdict.UNUSABLE


@given(st.text())
def test_no_stored_tag_makes_the_verdict_fail_or_match(tag: str) -> None:
    assert PEPPERS.verdict(tag, KEY, PHC) is TagVerdict.UNUSABLE


def test_a_tag_copied_from_another_record_does_not_open_this_one() -> None:
    """Whoever can write Redis cannot make a tag, and one moved with its hash names its own key."""
    theirs = make_tag(PEPPER, KEY.replace("4xT9", "9999"), PHC)
    assert PEPPERS.verdict(theirs, KEY, PHC) is TagVerdict.MISMATCH


def test_every_pepper_is_read_and_the_first_writes() -> None:
    rotated = Peppers((OTHER, PEPPER))
    assert rotated.verdict(TAG, KEY, PHC) is TagVerdict.MATCH
    assert rotated.make(KEY, PHC) == make_tag(OTHER, KEY, PHC)
    assert rotated.is_known(TAG)
    assert rotated.is_current(rotated.make(KEY, PHC))
    assert not rotated.is_current(TAG)


@pytest.mark.parametrize("tag", ["", TAG[:8], TAG[:-1], TAG + "\n", make_tag(OTHER, KEY, PHC)])
def test_a_tag_is_known_where_it_is_whole_and_of_one_of_these_peppers(tag: str) -> None:
    assert PEPPERS.is_known(TAG)
    assert not PEPPERS.is_known(tag)


def test_without_a_pepper_there_are_no_tags() -> None:
    none = Peppers()
    assert not none.has_any
    assert PEPPERS.has_any
    assert none.make(KEY, PHC) == ""
    assert none.verdict(TAG, KEY, PHC) is TagVerdict.UNUSABLE
    none.dummy(KEY)
    PEPPERS.dummy(KEY)


def test_an_id_without_a_record_costs_what_a_wrong_secret_does() -> None:
    wrong = proofs(lambda: PEPPERS.verdict(TAG, KEY + "x", PHC))
    assert wrong
    assert proofs(lambda: PEPPERS.dummy(KEY)) == wrong


def test_a_pepper_is_in_no_repr() -> None:
    assert repr(PEPPERS) == "Peppers()"
