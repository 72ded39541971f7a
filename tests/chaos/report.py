"""What a scenario came to, and all of them as one table."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.calls import LOST, OK, Call, outcomes


@dataclass
class Report:
    """`wrong`: admitted and should not have been. `lost`: without an answer, though nobody was
    killed who could have given it; those are `cut`. `recovery`: seconds, the longest."""

    name: str
    sent: int = 0
    admitted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    lost: int = 0
    cut: int = 0
    recovery: float | None = None
    remarks: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def count(self, calls: Iterable[Call], cuts: Iterable[float] = ()) -> None:
        """`cuts`: when something was killed; what breaks within a second of it is no wonder."""
        calls, cuts = list(calls), list(cuts)
        found = outcomes(calls)
        self.sent += len(calls)
        self.admitted += found.pop(OK, 0)
        found.pop(LOST, 0)
        self.refused += found
        for call in calls:
            if call.outcome == LOST:
                if any(call.began <= at + 1 and at <= call.ended <= at + 2 for at in cuts):
                    self.cut += 1
                else:
                    self.lost += 1

    def recovered(self, seconds: float, bound: float) -> None:
        self.recovery = max(seconds, self.recovery or 0.0)
        self.must(seconds <= bound, f"recovered after {seconds:.1f} s, not {bound:.0f}")

    def must(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.violations.append(sentence)

    def expect(self, *codes: str) -> None:
        """No other refusals than these."""
        strange = {code: n for code, n in self.refused.items() if code not in codes}
        self.must(not strange, f"refused without a reason: {strange}")

    def close(self) -> None:
        self.must(self.wrong == 0, f"{self.wrong} wrongly admitted")
        self.must(self.lost == 0, f"{self.lost} lost")


HEAD = ("scenario", "sent", "admitted", "refused", "wrong", "lost", "cut", "recovery")


def table(reports: Iterable[Report]) -> Iterator[str]:
    rows = [HEAD, *(_row(report) for report in reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for report in reports:
        if report.refused:
            by_code = ", ".join(f"{code} {n}" for code, n in sorted(report.refused.items()))
            yield f"{report.name}: refused with {by_code}"
        for remark in report.remarks:
            yield f"{report.name}: {remark}"
    for report in reports:
        for violation in report.violations:
            yield f"VIOLATION in {report.name}: {violation}"


def _row(report: Report) -> tuple[str, ...]:
    recovery = "" if report.recovery is None else f"{report.recovery:.2f} s"
    numbers = (report.wrong, report.lost, report.cut)
    return (
        *(report.name, str(report.sent), str(report.admitted), str(report.refused.total())),
        *map(str, numbers),
        recovery,
    )
