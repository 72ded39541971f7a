"""`gateway audit tail`: the latest records, and those that come."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from gateway.cli.output import moment, note, printable
from gateway.domain.audit.record import END
from gateway.domain.errors import UnreachableError
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines
from gateway.store.connections.connect import open_store

# Most events are no longer.
EVENT_WIDTH = 17
FOLLOW_SECONDS = 0.5


def show_tail_of_file(file: Path, count: int, *, as_json: bool) -> None:
    """So many of the latest in a file, and in those that it was rotated into."""
    kept, are_none = deque[str](maxlen=count), True
    for _, record in read_lines(file):
        are_none = False
        if as_json or not _is_end(record):
            kept.append(record)
    _show(kept, as_json=as_json)
    if are_none:
        _note_none(as_json=as_json)


async def show_tail(store: StoreSettings, count: int, *, follow: bool, as_json: bool) -> None:
    """So many of the latest in the stream; `follow`: then those that come, without an end."""
    async with open_store(store) as client:
        audit = AuditStore(client, store.prefix)
        latest, behind = await _latest(audit, count, as_json=as_json)
        _show(latest, as_json=as_json)
        if not behind:
            _note_none(as_json=as_json)
        if follow:
            await _follow(audit, behind, as_json=as_json)


async def _follow(audit: AuditStore, behind: str, *, as_json: bool) -> None:
    """Without an end, also where Redis is away for a while: what was written meanwhile comes
    then."""
    is_away = False
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            news = [entry async for entry in audit.read(behind or "-")]
        except UnreachableError as problem:
            if not is_away:
                note(f"{str(problem).removesuffix('.')}; waiting until it does.")
            is_away = True
            continue
        if is_away:
            note("Redis answers again.")
        is_away = False
        if news:
            behind = f"({news[-1][0]}"
            _show([record for _, record in news], as_json=as_json)


async def _latest(audit: AuditStore, count: int, *, as_json: bool) -> tuple[list[str], str]:
    """So many of the latest records, in order, and from where on newer ones are read; empty: none
    is there."""
    found: list[str] = []
    behind = ""
    async for entry, record in audit.read_back():
        if not behind:
            behind = f"({entry}"
        if len(found) == count:
            break
        if as_json or not _is_end(record):
            found.append(record)
    return found[::-1], behind


def _note_none(*, as_json: bool) -> None:
    if not as_json:
        note("There are no records yet: acts, uses of credentials and refusals make them.")


def _show(records: Iterable[str], *, as_json: bool) -> None:
    for record in records:
        if as_json:
            click.echo(record)
        elif not _is_end(record):
            click.echo(printable(_line(record)))


def _is_end(text: str) -> bool:
    """That a writer has closed its chain is for `verify`, and nothing that anybody did."""
    try:
        # Reading each record of a long file would take ten times as long.
        return END in text and bool(json.loads(text)["event"] == END)
    except (ValueError, KeyError, TypeError):
        return False


def _line(text: str) -> str:
    """When, what, and what else the record says by name: no column is there for nothing."""
    try:
        record = json.loads(text)
        when, event = moment(int(record["ts"])), str(record["event"])
        told = [f"{name}={_word(value)}" for name, value in _facts(record).items() if value]
        return f"{when}  {event:<{EVENT_WIDTH}}  {' '.join(told)}".rstrip()
    except (ValueError, KeyError, TypeError, OverflowError):
        return "no audit record"


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    # 0: of no version in particular.
    used = ((one["name"], one["version"]) for one in record["credentials"])
    named = (f"{name}@{version}" if version else name for name, version in used)
    count = record.get("count", 1)
    return {
        "actor": record.get("actor"),
        "key": record["key_id"],
        "consumer": record["consumer"],
        "user": record["user"],
        "agent": record.get("agent"),
        "tool": record.get("tool"),
        "credentials": ",".join(named),
        "code": record["code"],
        "status": record["status"],
        "count": count if count != 1 else "",
    }


def _word(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text else text
