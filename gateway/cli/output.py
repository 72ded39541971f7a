"""How commands print: data on stdout, as a table or JSON; everything else on stderr."""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, TypeVar

import click

from gateway.cli.table import lay_out

Item = TypeVar("Item")


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


def note(sentence: str) -> None:
    """Print a sentence for the operator on stderr."""
    click.echo(f"gateway: {printable(sentence)}", err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal, without the columns that are empty in every row."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells:
        return
    shown = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    table = [[row[i] for i in shown] for row in (columns, *cells)]
    header, *lines = lay_out(table, _width())
    click.echo(click.style(header, bold=True) if in_colour(sys.stdout) else header)
    for line in lines:
        click.echo(line)


def _width() -> int | None:
    """None if stdout is no terminal: programs that search the lines must not find them wrapped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def in_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not turned colour off (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


async def with_progress(doing: str, items: AsyncIterator[Item], count: int) -> AsyncIterator[Item]:
    """Yield the items; where there are several, show on a terminal how many have come."""
    hidden = count < 2 or not sys.stderr.isatty()
    with click.progressbar(length=count, label=doing, file=sys.stderr, hidden=hidden) as bar:
        async for item in items:
            yield item
            bar.update(1)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print a name and its value on each line; names without a value are left out."""
    pairs = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {printable(value)}")


def moment(second: int | None) -> str:
    """Format a Unix second for people."""
    if second is None:
        return ""
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return str(second)


def printable(text: str) -> str:
    """Replace what could control a terminal: records in Redis may have been written by anybody."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
