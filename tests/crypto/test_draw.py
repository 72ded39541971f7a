"""Randomness of keys."""

from collections import Counter

from gateway.crypto.draw import draw
from gateway.domain.keys.key import ALPHABET


def test_a_draw_has_its_length_and_only_base62_characters() -> None:
    assert draw(0) == ""
    assert len(draw(32)) == 32
    assert set(draw(1000)) <= set(ALPHABET)


def test_no_character_is_preferred() -> None:
    """256 mod 62 is 8: bytes taken modulo 62 would draw eight characters a quarter more often."""
    counts = Counter(draw(62_000))
    assert set(counts) == set(ALPHABET)
    assert max(counts.values()) < 1200
    assert min(counts.values()) > 800


def test_two_draws_differ() -> None:
    assert draw(12) != draw(12)
