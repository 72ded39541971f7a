"""A worker that keeps crashing is started ever more slowly, for as long as it takes."""

from itertools import pairwise

from gateway.workers.slot import FIRST_PAUSE, LONGEST_PAUSE, pause_after


def test_a_first_start_waits_for_nothing() -> None:
    assert pause_after(0) == 0.0


def test_pauses_grow_and_are_bounded() -> None:
    pauses = [pause_after(failures) for failures in range(1, 30)]
    assert pauses[0] == FIRST_PAUSE
    assert all(before < after or after == LONGEST_PAUSE for before, after in pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE


def test_a_day_of_crashes_is_survived() -> None:
    assert pause_after(5000) == LONGEST_PAUSE
