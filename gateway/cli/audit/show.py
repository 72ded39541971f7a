"""`gateway audit tail` and `export`."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from gateway.cli.audit.options import NO_RECORDS, file_option
from gateway.cli.command import command
from gateway.cli.options import (
    Whole,
    add_options,
    json_already_option,
    json_option,
    read_as,
    store_options,
)
from gateway.cli.output import moment, note, printable
from gateway.domain.audit.events import event_filter
from gateway.domain.audit.filters import DECISIONS, FILTERS, Filters, filters_of, matching
from gateway.domain.audit.record import END, read
from gateway.domain.errors import UnreachableError, UsageError
from gateway.domain.keys.expiry import parse_since, parse_until
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore, at, before
from gateway.store.audit_file import read_lines
from gateway.store.connections.connect import open_store

# Fits most names of events.
EVENT_WIDTH = 17
FOLLOW_SECONDS = 0.5


_FILTERS = (
    click.option(
        "--event",
        metavar="EVENT",
        callback=read_as(event_filter),
        help="Only this event, such as key.revoke or 'credential.*'.",
    ),
    click.option("--key", metavar="ID", help="Only records of this key."),
    click.option("--consumer", metavar="NAME", help="Only records of this consumer's keys."),
    click.option(
        "--agent", metavar="NAME", help="Only about this agent, or models/NAME and the like."
    ),
    click.option(
        "--credential",
        metavar="NAME",
        help="Only about this credential, such as openai_key, openai_key@2 or user/alice/github.",
    ),
    click.option("--user", metavar="ID", help="Only on behalf of this user."),
    click.option("--actor", metavar="WHO", help="Only acts of this operator."),
    click.option("--decision", type=click.Choice(DECISIONS), help="Only with this decision."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters; the command receives them as `filters: Filters`."""

    @wraps(command)
    def filled(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) or "" for name in FILTERS}
        return command(*args, filters=filters_of(given), **options)

    return add_options(filled, *_FILTERS)


@command("gateway audit tail -n 50 --event 'key.*' --follow")
@click.option("-n", "count", type=Whole(0), default=20, show_default=True, help="How many.")
@click.option("--follow", is_flag=True, help="Go on and show new records.")
@filter_options
@json_option
@file_option
@store_options
def tail(
    store: StoreSettings,
    as_json: bool,
    file: Path | None,
    count: int,
    follow: bool,
    filters: Filters,
) -> None:
    """Show the latest records."""
    display = Display(filters, as_json)
    if file is None:
        asyncio.run(show_tail(store, count, display, follow=follow))
    elif follow:
        raise UsageError("--follow follows the stream in Redis; for a file, use 'tail -F'.")
    else:
        show_tail_of_file(file, count, display)


@command("gateway audit export --since 2h > audit.jsonl")
@click.option(
    "--since",
    metavar="WHEN",
    default="1970-01-01",
    callback=read_as(lambda text: parse_since(text, int(time.time()))),
    help="2h (ago), 2027-01-31 or Unix seconds.",
)
@click.option(
    "--until",
    metavar="WHEN",
    callback=read_as(lambda text: parse_until(text, int(time.time()))),
    help="Only what was written before: 1h (ago), 2027-02-01 or Unix seconds.",
)
@filter_options
@json_already_option
@store_options
def export(store: StoreSettings, since: int, until: int | None, filters: Filters) -> None:
    """Write records to stdout, one JSON object a line.

    'verify --file' can check the output; it needs --partial if the oldest records are missing. An
    export with filters cannot be verified, because records are missing in between.
    """
    if until is not None and until < since:
        raise UsageError("--until names a time before --since: nothing can be in between.")
    asyncio.run(show_all(store, since, until, filters))


@dataclass(frozen=True, slots=True)
class Display:
    """Which records are shown, and how."""

    filters: Filters
    as_json: bool

    def has(self, record: str) -> bool:
        if self.filters and matching(record, self.filters) is None:
            return False
        return self.as_json or "event" in self.filters or not _is_end(record)

    def show(self, records: Iterable[str]) -> None:
        for record in records:
            click.echo(record if self.as_json else printable(_line(record)))

    def note_none(self, count: int, *, are_none: bool) -> None:
        """Say why no record is shown. `are_none`: there are no records at all."""
        if self.as_json:
            return
        if are_none:
            note(NO_RECORDS)
        elif self.filters and count:
            note("No record matches.")


async def show_all(store: StoreSettings, since: int, until: int | None, filters: Filters) -> None:
    """Print the records written from the Unix second `since` on, and before `until`."""
    display, are_none = Display(filters, as_json=True), True
    async with open_store(store) as client:
        end = "+" if until is None else before(until)
        async for _, record in AuditStore(client, store.prefix).read(at(since), end):
            if display.has(record):
                are_none = False
                display.show((record,))
    if are_none:
        note("No record matches, so nothing was exported.")


def show_tail_of_file(file: Path, count: int, display: Display) -> None:
    """Show the latest `count` records of a file and of the files that it was rotated into."""
    kept, are_none = deque[str](maxlen=count), True
    for _, record in read_lines(file):
        are_none = False
        if display.has(record):
            kept.append(record)
    display.show(kept)
    if not kept:
        display.note_none(count, are_none=are_none)


async def show_tail(store: StoreSettings, count: int, display: Display, *, follow: bool) -> None:
    """Show the latest `count` records of the stream; `follow`: then new ones, without end."""
    async with open_store(store) as client:
        audit = AuditStore(client, store.prefix)
        latest, behind = await _latest(audit, count, display)
        display.show(latest)
        if not latest:
            display.note_none(count, are_none=not behind)
        if follow:
            await _follow(audit, behind, display)


async def _follow(audit: AuditStore, behind: str, display: Display) -> None:
    """Show new records without end. While Redis is away, wait; then show what was written
    meanwhile."""
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
            display.show(record for _, record in news if display.has(record))


async def _latest(audit: AuditStore, count: int, display: Display) -> tuple[list[str], str]:
    """Return the latest `count` records in order, and the start of the range of newer ones; empty
    if the stream is empty."""
    found: list[str] = []
    behind = ""
    async for entry, record in audit.read_back():
        if not behind:
            behind = f"({entry}"
        if len(found) == count:
            break
        if display.has(record):
            found.append(record)
    return found[::-1], behind


def _is_end(text: str) -> bool:
    """Whether this record only closes a writer's chain: `verify` needs it, readers do not."""
    # The search for the word comes first: parsing every record would take ten times as long.
    return END in text and (read(text) or {}).get("event") == END


def _line(text: str) -> str:
    """Format a record: time, event, then name=value for every other field that is set."""
    try:
        record = json.loads(text)
        when, event = moment(int(record["ts"])), str(record["event"])
        facts = [f"{name}={_word(value)}" for name, value in _facts(record).items() if value]
        return f"{when}  {event:<{EVENT_WIDTH}}  {' '.join(facts)}".rstrip()
    except (ValueError, KeyError, TypeError, OverflowError):
        return "not an audit record"


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    # Version 0 stands for no particular version.
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
