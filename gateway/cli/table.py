"""Tables that fit a terminal: cells wrap between words, then between the parts of a name."""

import re
import unicodedata
from collections.abc import Sequence

GAP = "  "
# Longer parts are cut anywhere if the terminal is too narrow for them.
LONGEST_PART = 24
# Without wrapping, a column is padded to at most this width: a label that somebody wrote with
# redis-cli may have a million characters.
WIDEST = 200
# Names are split after / : @ _ - and after commas; numbers with a unit, dates and times are not.
# Chinese has no spaces, and is split after any character.
_PART = re.compile(
    r"\S*?(?:[/:@_-](?=[A-Za-z{$]{2})|[,;](?=\S)|[\u2e80-\uffdc\U0001f000-\U0003ffff]|$)"
)


def lay_out(rows: Sequence[Sequence[str]], most: int | None) -> list[str]:
    """Return the lines of a table at most `most` cells wide, or wider if a part of a name does not
    fit. None: do not wrap."""
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
    """The width of each column: its longest cell; if the sum is too much, the widest shrink."""
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
        gap = " " if lines[-1] else ""
        for piece in (word,) if _cells(word) <= width else _pieces(word, width):
            if lines[-1] and _cells(lines[-1] + gap + piece) > width:
                lines.append(piece)
            else:
                lines[-1] += gap + piece
            gap = ""
    return lines


def _pieces(word: str, width: int) -> list[str]:
    """Split a word that is too long for a line into its parts, and too long parts anywhere."""
    return [c for part in _PART.findall(word) for c in ((part,) if _cells(part) <= width else part)]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _cells(text: str) -> int:
    """The width of `text` on a terminal, where Chinese characters take two cells."""
    if text.isascii():
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
