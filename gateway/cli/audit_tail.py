"""`gateway audit tail`: the latest records, and those that come."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway.cli.output import moment, note, printable
from gateway.domain.audit.record import END, read
from gateway.domain.audit.wanted import Wanted, matching
from gateway.domain.errors import UnreachableError
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines
from gateway.store.connections.connect import open_store

# Most events are no longer.
EVENT_WIDTH = 17
FOLLOW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Taken:
    """Which records are shown, and how: those that say all that is `wanted`."""

    wanted: Wanted
    as_json: bool

    def has(self, record: str) -> bool:
        if self.wanted and matching(record, self.wanted) is None:
            return False
        return self.as_json or "event" in self.wanted or not _is_end(record)

    def show(self, records: Iterable[str]) -> None:
        for record in records:
            click.echo(record if self.as_json else printable(_line(record)))

    def note_none(self, count: int, *, are_none: bool) -> None:
        """Say why none is shown, though so many were asked for."""
        if self.as_json:
            return
        if are_none:
            note("There are no records yet: acts, uses of credentials and refusals make them.")
        elif self.wanted and count:
            note("No record says that.")


async def show_all(store: StoreSettings, since: int, wanted: Wanted) -> None:
    """What was written from the Unix second `since` on until now."""
    taken = Taken(wanted, as_json=True)
    async with open_store(store) as client:
        # A stream's ids begin with the millisecond in which an entry was made.
        async for _, record in AuditStore(client, store.prefix).read(f"{since}000-0"):
            if taken.has(record):
                taken.show((record,))


def show_tail_of_file(file: Path, count: int, taken: Taken) -> None:
    """So many of the latest in a file, and in those that it was rotated into."""
    kept, are_none = deque[str](maxlen=count), True
    for _, record in read_lines(file):
        are_none = False
        if taken.has(record):
            kept.append(record)
    taken.show(kept)
    if not kept:
        taken.note_none(count, are_none=are_none)


async def show_tail(store: StoreSettings, count: int, taken: Taken, *, follow: bool) -> None:
    """So many of the latest in the stream; `follow`: then those that come, without an end."""
    async with open_store(store) as client:
        audit = AuditStore(client, store.prefix)
        latest, behind = await _latest(audit, count, taken)
        taken.show(latest)
        if not latest:
            taken.note_none(count, are_none=not behind)
        if follow:
            await _follow(audit, behind, taken)


async def _follow(audit: AuditStore, behind: str, taken: Taken) -> None:
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
            taken.show(record for _, record in news if taken.has(record))


async def _latest(audit: AuditStore, count: int, taken: Taken) -> tuple[list[str], str]:
    """So many of the latest records, in order, and from where on newer ones are read; empty: none
    is there."""
    found: list[str] = []
    behind = ""
    async for entry, record in audit.read_back():
        if not behind:
            behind = f"({entry}"
        if len(found) == count:
            break
        if taken.has(record):
            found.append(record)
    return found[::-1], behind


def _is_end(text: str) -> bool:
    """That a writer has closed its chain is for `verify`, and nothing that anybody did."""
    # Reading each record of a long file would take ten times as long.
    return END in text and (read(text) or {}).get("event") == END


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
