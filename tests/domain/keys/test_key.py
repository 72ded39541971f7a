"""The grammar of keys: one spelling, and no mistyped or invented key gets past it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import key as keys
from gateway.domain.keys.key import ALPHABET, ENVS

KEY_LENGTH = len("agk_live_4xT9mQ2LrB7c_") + 32 + 6

key_ids = st.text(ALPHABET, min_size=12, max_size=12)
secrets = st.text(ALPHABET, min_size=32, max_size=32)
composed = st.builds(keys.compose, st.sampled_from(ENVS), key_ids, secrets)

EXAMPLE = keys.compose("live", "4xT9mQ2LrB7c", "0123456789ABCDEFGHIJabcdefghijKL")


@given(composed)
def test_a_composed_key_parses_to_itself(key: keys.Key) -> None:
    assert keys.parse(key.text) == key
    assert len(key.text) == KEY_LENGTH
    assert re.fullmatch(r"agk_(live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", key.text)


@given(composed, st.integers(0, KEY_LENGTH - 1), st.sampled_from(ALPHABET + "_- é٣"))
def test_any_single_changed_character_is_refused(key: keys.Key, at: int, other: str) -> None:
    changed = key.text[:at] + other + key.text[at + 1 :]
    if changed != key.text:
        assert keys.parse(changed) is None


@given(composed, st.text(min_size=1, max_size=3))
def test_nothing_may_stand_before_or_after_a_key(key: keys.Key, more: str) -> None:
    assert keys.parse(more + key.text) is None
    assert keys.parse(key.text + more) is None


@given(st.text())
def test_arbitrary_text_is_never_a_key(text: str) -> None:
    assert keys.parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        EXAMPLE.text + "\n",
        " " + EXAMPLE.text,
        EXAMPLE.text[:-1],
        EXAMPLE.text.upper(),
        EXAMPLE.text.replace("_live_", "_prod_"),
        EXAMPLE.text.replace("_live_", "_test_"),
        EXAMPLE.text.replace("4xT9", "4xT\N{ARABIC-INDIC DIGIT NINE}"),
        EXAMPLE.text.replace("4xT9", "4xT\N{FULLWIDTH DIGIT NINE}"),
        "$argon2id$v=19$m=19456,t=2,p=1$Xf7iTNzdsOMZY/K0LOIVbg$FqFu2T8tEUkXAPcXJhiuak36KOgN6fIp",
        "3ba3f5f4:a4e05219a2cc7e74:d0367b3e2f70424b2c3da60e2b31dd4b9f50a66b99b8ab25a14ba7981b515",
    ],
)
def test_what_is_not_exactly_a_key_is_refused(text: str) -> None:
    """A stored hash or tag, presented as a key, among them."""
    assert keys.parse(text) is None


@pytest.mark.parametrize(
    "body",
    [
        "agk_prod_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKL",
        "agk_live_4xT9mQ2LrB7_0123456789ABCDEFGHIJabcdefghijKL",
        "agk_live_4xT9mQ2LrB7cc_0123456789ABCDEFGHIJabcdefghijKL",
        "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijK",
        "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKLM",
        "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijK\N{ARABIC-INDIC DIGIT NINE}",
        "xagk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKL",
        "",
    ],
)
def test_a_right_check_makes_no_key_of_another_shape(body: str) -> None:
    """Anybody can compute the check, and send it behind whatever they like."""
    text = body + keys.checksum(body)
    assert keys.parse(text) is None


def test_the_check_is_the_crc32_in_six_base62_digits() -> None:
    """The CRC's own published check value, so that keys outlive any rewrite of this code."""
    assert keys.checksum("") == "000000"
    number = 0
    for digit in keys.checksum("123456789"):
        number = number * 62 + ALPHABET.index(digit)
    assert number == 0xCBF43926


def test_the_text_of_a_key_is_not_in_its_repr_or_str() -> None:
    secret = EXAMPLE.text[22:]
    assert secret not in repr(EXAMPLE)
    assert secret not in str(EXAMPLE)
    assert str(EXAMPLE) == f"agk_live_4xT9mQ2LrB7c_…{EXAMPLE.text[-4:]}"


@given(composed, st.text(alphabet=" /?&=\"',;:<>", max_size=3), st.text(" \n&;", max_size=3))
def test_a_key_is_found_anywhere_in_a_text(key: keys.Key, before: str, after: str) -> None:
    assert keys.contains_key(f"{before}{key.text}{after}")


@given(composed, st.text(max_size=20))
def test_masking_keeps_the_id_and_drops_the_secret(key: keys.Key, around: str) -> None:
    masked = keys.masked(f"{around} {key.text} {around}")
    assert key.id in masked
    assert key.text[22:54] not in masked


def test_masking_covers_a_key_that_was_mistyped() -> None:
    mistyped = EXAMPLE.text[:-3] + "XX"
    assert keys.masked(f"got {mistyped}.") == "got agk_live_4xT9mQ2LrB7c_…."


@pytest.mark.parametrize(
    "text", ["", "4xT9mQ2LrB7", "4xT9mQ2LrB7cc", "4xT9mQ2LrB7_", "4xT9mQ2LrB7c\n", "é" * 12]
)
def test_an_id_is_exactly_twelve_base62_characters(text: str) -> None:
    assert keys.is_id("4xT9mQ2LrB7c")
    assert not keys.is_id(text)
