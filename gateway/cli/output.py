"""How commands print: data on stdout, as a table or as JSON; all else on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

# Whoever looks for a line in it must not find it folded.
PIPE_WIDTH = 2000


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


def note(sentence: str) -> None:
    """A sentence for the operator, beside the data."""
    click.echo(f"gateway: {printable(sentence)}", err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table as wide as the terminal; columns that are empty in every row are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        return
    shown = [i for i in range(len(columns)) if any(line[i] for line in lines)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in shown:
        table.add_column(columns[i], overflow="fold", no_wrap=i == 0)
    for line in lines:
        table.add_row(*(Text(line[i]) for i in shown))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line; pairs without a value are left out."""
    pairs = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {printable(value)}")


def moment(second: int | None) -> str:
    """A Unix second as people read it."""
    if second is None:
        return ""
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return str(second)


def printable(text: str) -> str:
    """`text` without what could steer a terminal: records may be written by anybody's hand."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
