"""`gateway audit tail`: the latest records, and those that come."""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.cli.output import moment, note, print_table
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines
from gateway.store.connections.connect import open_store

COLUMNS = ("TIME", "EVENT", "ACTOR", "KEY", "CONSUMER", "USER", "CREDENTIALS", "STATUS", "CODE")
FOLLOW_SECONDS = 0.5


def show_tail_of_file(file: Path, count: int, *, as_json: bool) -> None:
    """So many of the latest in a file, and in those that it was rotated into."""
    kept, are_none = deque[str](maxlen=count), True
    for _, record in read_lines(file):
        kept.append(record)
        are_none = False
    _show(kept, as_json=as_json)
    if are_none:
        _note_none(as_json=as_json)


async def show_tail(store: StoreSettings, count: int, *, follow: bool, as_json: bool) -> None:
    """So many of the latest in the stream; `follow`: then those that come, without an end."""
    async with open_store(store) as client:
        audit = AuditStore(client, store.prefix)
        latest, behind = await _latest(audit, count)
        _show(latest, as_json=as_json)
        if not behind:
            _note_none(as_json=as_json)
        while follow:
            await asyncio.sleep(FOLLOW_SECONDS)
            news = [entry async for entry in audit.read(behind or "-")]
            if news:
                behind = f"({news[-1][0]}"
                _show([record for _, record in news], as_json=as_json)


async def _latest(audit: AuditStore, count: int) -> tuple[list[str], str]:
    """So many of the latest records, in order, and from where on newer ones are read; empty: none
    is there."""
    found: list[str] = []
    behind = ""
    async for entry, record in audit.read_back():
        if not behind:
            behind = f"({entry}"
        if len(found) == count:
            break
        found.append(record)
    return found[::-1], behind


def _note_none(*, as_json: bool) -> None:
    if not as_json:
        note("There are no records yet: acts, uses of credentials and refusals make them.")


def _show(records: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        for record in records:
            click.echo(record)
        return
    rows = [_row(record) for record in records]
    print_table(COLUMNS, rows)


def _row(text: str) -> tuple[str, ...]:
    try:
        record = json.loads(text)
        # 0: of no version in particular.
        used = ((one["name"], one["version"]) for one in record["credentials"])
        named = [f"{name}@{version}" if version else name for name, version in used]
        actor = record.get("actor", "")
        told = (record["event"], actor, record["key_id"], record["consumer"], record["user"])
        status, code = str(record["status"] or ""), str(record["code"])
        return (moment(int(record["ts"])), *map(str, told), " ".join(named), status, code)
    except (ValueError, KeyError, TypeError, OverflowError):
        return ("", "no audit record", *[""] * 7)
