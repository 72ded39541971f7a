"""What the bench says of a run: ratios of rounds that stood close in time, goals held or not."""

from itertools import chain

from bench.cases import CASES
from bench.goals import Goal, verdicts
from bench.table import Results, Round, render

HALF = Goal("1k", "1 KB", "passthrough", 0.5)
LESS = Goal("1k", "1 KB", "caddy", 1)
TAIL = Goal("paced", "paced", "passthrough", 2, "p99_ms")


def rounds(case: str, peer: str, *cpu_us: float) -> list[Round]:
    return [Round(i, case, peer, cpu, 1000.0, cpu / 10) for i, cpu in enumerate(cpu_us)]


def said(goal: Goal, *measured: list[Round]) -> str:
    return verdicts(Results(chain(*measured)), (goal,))[1]


def test_a_ratio_is_of_each_round_and_not_of_medians_taken_apart() -> None:
    # The machine is three times as slow in one round: the medians apart would say 0.25 or 1.
    results = Results(
        rounds("1k", "gateway", 50, 150, 200) + rounds("1k", "passthrough", 100, 300, 400)
    )
    assert results.ratio("cpu_us", "1k", "gateway", "passthrough") == 0.5
    uneven = Results(rounds("1k", "gateway", 50, 150, 50) + rounds("1k", "nginx", 100, 300, 100))
    assert uneven.ratio("cpu_us", "1k", "gateway", "nginx") == 0.5


def test_a_round_without_its_other_side_tells_nothing() -> None:
    results = Results(rounds("1k", "gateway", 50, 150) + rounds("1k", "passthrough", 100))
    assert results.ratio("cpu_us", "1k", "gateway", "passthrough") == 0.5


def test_at_most_includes_the_share_itself() -> None:
    line = said(HALF, rounds("1k", "gateway", 50), rounds("1k", "passthrough", 100))
    assert line.endswith("0.50  reached")


def test_above_the_share_is_not_reached() -> None:
    line = said(HALF, rounds("1k", "gateway", 51), rounds("1k", "passthrough", 100))
    assert line.endswith("0.51  NOT reached")


def test_less_than_a_peer_is_not_as_much_as_it() -> None:
    line = said(LESS, rounds("1k", "gateway", 100), rounds("1k", "caddy", 100))
    assert line.endswith("1.00  NOT reached")


def test_a_goal_of_p99_looks_at_p99() -> None:
    measured = [
        Round(0, "paced", "gateway", 1, 1, 5.0),
        Round(0, "paced", "passthrough", 9, 1, 2.0),
    ]
    assert said(TAIL, measured).endswith("2.50  NOT reached")


def test_a_goal_that_was_not_measured_is_never_called_reached() -> None:
    assert said(LESS, rounds("1k", "gateway", 1)) == "1 of 1 goals were not measured in this run."


def test_table_and_goals_fit_100_columns() -> None:
    results = Results(
        one
        for case in CASES
        for peer in ("gateway", "passthrough")
        for one in rounds(case.name, peer, 123_456.7, 999_999.9)
    )
    lines = render(CASES, ["gateway", "passthrough"], results) + verdicts(results)
    assert max(map(len, lines)) <= 100
    assert len(lines) > 2 * len(CASES)
