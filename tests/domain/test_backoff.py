"""What fails again and again is tried ever more slowly, for as long as it takes."""

from gateway.domain.backoff import pause_after


def test_a_first_start_waits_for_nothing_and_another_twice_as_long_each_time_up_to_a_bound() -> (
    None
):
    pauses = [pause_after(failures, 0.5, 60.0) for failures in range(10)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_day_of_failures_is_survived() -> None:
    assert pause_after(5000, 0.1, 30.0) == 30.0
