"""The figures of a run as one table of at most 100 columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Case

YARDSTICK = "passthrough"
FIGURES = f"{'CPU µs':>9}{'± %':>6}{'ratio':>7}{'req/s':>10}{'p99 ms':>9}"
_HEAD = f"{'case':<18}{'peer':<13}{FIGURES}"


@dataclass(frozen=True, slots=True)
class Round:
    """One peer in one round of one case."""

    number: int
    case: str
    peer: str
    cpu_us: float
    per_second: float
    p99_ms: float


class Results:
    """The rounds of one run."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        self._rounds: dict[tuple[str, str], list[Round]] = {}
        for one in rounds:
            self._rounds.setdefault((one.case, one.peer), []).append(one)

    def of(self, case: str, peer: str) -> list[Round]:
        return self._rounds.get((case, peer), [])

    def median(self, figure: str, case: str, peer: str) -> float | None:
        found = [getattr(one, figure) for one in self.of(case, peer)]
        return median(found) if found else None

    def ratio(
        self, figure: str, case: str, peer: str, other: str, beside: str = ""
    ) -> float | None:
        """Return the median of the ratios of single rounds, whose two sides ran close in time.

        `beside`: the other peer's case, if it is a different one.
        """
        others = {one.number: getattr(one, figure) for one in self.of(beside or case, other)}
        found = [
            getattr(one, figure) / others[one.number]
            for one in self.of(case, peer)
            if others.get(one.number)
        ]
        return median(found) if found else None


def render(cases: Sequence[Case], peers: Sequence[str], results: Results) -> list[str]:
    lines = [_HEAD, "-" * len(_HEAD)]
    for case in cases:
        title = case.title
        for peer in peers:
            rounds = results.of(case.name, peer)
            if rounds:
                ratio = results.ratio("cpu_us", case.name, peer, YARDSTICK)
                lines.append(f"{title:<18}{peer:<13}{figures(rounds, ratio)}")
                title = ""
    return lines


def figures(rounds: Sequence[Round], ratio: float | None) -> str:
    """Format the columns of FIGURES."""
    cpu = median(one.cpu_us for one in rounds)
    spread = max(abs(one.cpu_us - cpu) for one in rounds) / cpu * 100
    told = "" if ratio is None else f"{ratio:.2f}"
    per_second = median(one.per_second for one in rounds)
    # Streams that a short run cut have no p99.
    p99 = median(one.p99_ms for one in rounds)
    late = f"{p99:,.1f}" if p99 else ""
    return f"{cpu:>9,.1f}{spread:>6.0f}{told:>7}{per_second:>10,.0f}{late:>9}"
