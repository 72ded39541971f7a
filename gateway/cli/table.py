"""A table that fits a terminal: cells are broken between words, then between parts of names."""

import re
import unicodedata
from collections.abc import Sequence

GAP = "  "
# A longer one is broken anywhere, where the terminal is too narrow for it.
LONGEST_PART = 24
# Where nothing is broken, lines are not filled up beyond it for the sake of a single cell: a label
# that somebody wrote with redis-cli may have a million characters.
WIDEST = 200
# Names have parts; numbers with a unit, dates and times stay whole.
_PART = re.compile(r"\S*?(?:[/:@_-](?=[A-Za-z{$]{2})|[,;](?=\S)|$)")


def lay_out(rows: Sequence[Sequence[str]], most: int | None) -> list[str]:
    """The lines of a table, at most so wide; wider where parts of names do not fit. None: any."""
    widths = _widths(rows, most)
    lines = []
    for row in rows:
        cells = [
            [cell] if most is None else _broken(cell, width)
            for cell, width in zip(row, widths, strict=True)
        ]
        for i in range(max(map(len, cells))):
            parts = (cell[i] if i < len(cell) else "" for cell in cells)
            padded = (_padded(part, width) for part, width in zip(parts, widths, strict=True))
            lines.append(GAP.join(padded).rstrip())
    return lines


def _widths(rows: Sequence[Sequence[str]], most: int | None) -> list[int]:
    """Of each column as much as it wants; where that is too much, the widest gives way first."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(_cells, column)) for column in columns]
    if most is None:
        return [min(width, WIDEST) for width in widths]
    least = [max(map(_longest_part, column)) for column in columns]
    room = most - len(GAP) * (len(widths) - 1)
    while sum(widths) > room:
        i = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
        if widths[i] <= least[i]:
            break
        widths[i] -= 1
    return widths


def _longest_part(text: str) -> int:
    return min(LONGEST_PART, max(map(_cells, _parts(text)), default=0))


def _parts(text: str) -> list[str]:
    return [part for word in text.split() for part in _PART.findall(word)]


def _broken(text: str, width: int) -> list[str]:
    if _cells(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        for piece in (word,) if _cells(word) <= width else _pieces(word, width):
            gap = " " if lines[-1] and piece is word else ""
            if lines[-1] and _cells(lines[-1] + gap + piece) > width:
                lines.append(piece)
            else:
                lines[-1] += gap + piece
    return lines


def _pieces(word: str, width: int) -> list[str]:
    """What a word that is too long for a line is broken into: its parts, or those cut."""
    return [c for part in _PART.findall(word) for c in ((part,) if _cells(part) <= width else part)]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _cells(text: str) -> int:
    """How wide it is on a terminal, where Chinese characters take twice as much."""
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
