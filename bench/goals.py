"""The performance goals, checked against the figures of one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.table import Results

GATEWAY = "gateway"
_WORDS = {"cpu_us": "CPU a request", "p99_ms": "p99"}


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that the gateway's `figure` may be in a case, relative to the peer's in the same
    case, or to that in the case `beside`."""

    case: str
    title: str
    peer: str
    most: float
    figure: str = "cpu_us"
    beside: str = ""

    def __str__(self) -> str:
        # A limit of 1 means strictly less.
        asked = f"at most {self.most:g} x" if self.most != 1 else "less than"
        return f"{self.title}: {_WORDS[self.figure]} {asked} {self.beside or self.peer}"

    def is_reached(self, ratio: float) -> bool:
        return ratio < self.most if self.most == 1 else ratio <= self.most


GOALS = (
    Goal("1k", "1 KB, 32 conn.", "passthrough", 0.6),
    Goal("1k-256", "1 KB, 256 conn.", "passthrough", 0.6),
    Goal("1k", "1 KB, 32 conn.", "nginx-lua", 2),
    Goal("1k", "1 KB, 32 conn.", "caddy", 1),
    Goal("1k", "1 KB, 32 conn.", "traefik", 1),
    Goal("inject", "1 KB, injected", GATEWAY, 1.25, beside="1k"),
    Goal("tool", "a call of a tool", GATEWAY, 1.5, beside="post"),
    Goal("paced", "1 KB at one rate", "passthrough", 2, "p99_ms"),
    Goal("sse", "SSE", "passthrough", 1.1),
    Goal("down", "1 MB down", "passthrough", 1.1),
    Goal("up", "1 MB up", "passthrough", 1.1),
)


def verdicts(results: Results, goals: Sequence[Goal] = GOALS) -> list[str]:
    """Return a line for each goal that was measured, and the number of those that were not."""
    lines, untold = [f"{'goal':<58}{'ratio':>6}"], 0
    for goal in goals:
        ratio = results.ratio(goal.figure, goal.case, GATEWAY, goal.peer, goal.beside)
        if ratio is None:
            untold += 1
        else:
            word = "reached" if goal.is_reached(ratio) else "NOT reached"
            lines.append(f"{goal!s:<58}{ratio:>6.2f}  {word}")
    if untold:
        lines.append(f"{untold} of {len(goals)} goals were not measured in this run.")
    return lines
