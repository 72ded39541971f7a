"""A megabyte is searched for twenty secrets in passing, and not letter by letter."""

import random

from bench.scrub import answer_of, best_ms, twenty_secrets


def test_a_megabyte_with_twenty_secrets_holds_nobody_up() -> None:
    draw = random.Random(1)  # noqa: S311 - the same each time
    found = twenty_secrets(draw)
    # The goal is 10 ms on a machine that does nothing else; letter by letter it takes 300.
    assert best_ms(answer_of(draw, 80), found) < 100
