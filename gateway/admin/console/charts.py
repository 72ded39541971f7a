"""Charts as coordinates for SVG, 600 units wide and 80 high; time runs to the right."""

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 600, 80


@dataclass(frozen=True, slots=True)
class Bar:
    """`at`: the start of its bucket of time, in Unix seconds."""

    at: int
    value: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """`most`: the value of the tallest bar, which is as high as the chart."""

    most: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """Step lines, one SVG path each. `starts`: the starts of the buckets of time, in Unix seconds.
    `most`: the highest value, or None if there is no value."""

    most: float | None
    starts: tuple[int, ...]
    paths: tuple[str, ...]


def bars(points: Sequence[tuple[int, int]]) -> Bars:
    """Return a bar for each (start, value)."""
    most = max(value for _, value in points)
    width = _width(points)
    return Bars(
        most,
        tuple(
            Bar(
                at,
                value,
                x=round(place * width + 1, 2),
                y=_y(value, most),
                width=round(max(1.0, width - 2), 2),
                height=round(_HEIGHT - _y(value, most), 2),
            )
            for place, (at, value) in enumerate(points)
        ),
    )


def steps(starts: Sequence[int], *lines: Sequence[float | None]) -> Steps:
    """Return a path for each of `lines`, with a gap where a value is None."""
    most = max((value for line in lines for value in line if value is not None), default=None)
    return Steps(most, tuple(starts), tuple(_path(line, most or 1.0) for line in lines))


def _path(line: Sequence[float | None], most: float) -> str:
    width = _width(line)
    moves, before = [], None
    for place, value in enumerate(line):
        if value is not None:
            y = _y(value, most)
            moves.append(f"M{place * width:.2f} {y}" if before is None else f"V{y}")
            moves.append(f"H{(place + 1) * width:.2f}")
        before = value
    return "".join(moves)


def _width(points: Sequence[object]) -> float:
    return _WIDTH / len(points)


def _y(value: float, most: float) -> float:
    return round(_HEIGHT - value / (most or 1) * _HEIGHT, 2)
