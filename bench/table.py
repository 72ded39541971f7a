"""The figures of a run as one table of at most 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Case

YARDSTICK = "passthrough"
_HEAD = f"{'case':<16}{'peer':<13}{'CPU µs':>9}{'± %':>6}{'ratio':>7}{'req/s':>10}{'p99 ms':>9}"


@dataclass(frozen=True, slots=True)
class Round:
    """One peer in one round of one case."""

    case: str
    peer: str
    cpu_us: float
    per_second: float
    p99_ms: float


def render(cases: Sequence[Case], peers: Sequence[str], rounds: Sequence[Round]) -> list[str]:
    lines = [_HEAD, "-" * len(_HEAD)]
    for case in cases:
        of_case = [one for one in rounds if one.case == case.name]
        yardstick = _cpu([one for one in of_case if one.peer == YARDSTICK])
        title = case.title
        for peer in peers:
            lines.append(_row(title, peer, [o for o in of_case if o.peer == peer], yardstick))
            title = ""
    return lines


def _row(title: str, peer: str, rounds: Sequence[Round], yardstick: float) -> str:
    cpu = _cpu(rounds)
    spread = max(abs(one.cpu_us - cpu) for one in rounds) / cpu * 100
    ratio = f"{cpu / yardstick:.2f}" if yardstick else ""
    per_second = median(one.per_second for one in rounds)
    p99 = median(one.p99_ms for one in rounds)
    return (
        f"{title:<16}{peer:<13}{cpu:>9,.1f}{spread:>6.0f}{ratio:>7}{per_second:>10,.0f}{p99:>9,.1f}"
    )


def _cpu(rounds: Sequence[Round]) -> float:
    return median(one.cpu_us for one in rounds) if rounds else 0.0
