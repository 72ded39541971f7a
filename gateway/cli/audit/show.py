"""`gateway audit tail` and `export`: the latest records, those that come, and a file of them."""

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

from gateway.cli.audit.options import file_option
from gateway.cli.command import command
from gateway.cli.options import (
    add_options,
    json_already_option,
    json_option,
    read_as,
    store_options,
)
from gateway.cli.output import moment, note, printable
from gateway.domain.audit.record import END, read
from gateway.domain.audit.wanted import DECISIONS, FILTERS, Wanted, matching, wanted_by
from gateway.domain.errors import UnreachableError, UsageError
from gateway.domain.keys.expiry import parse_since
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from gateway.store.audit_file import read_lines
from gateway.store.connections.connect import open_store

# Most events are no longer.
EVENT_WIDTH = 17
FOLLOW_SECONDS = 0.5


_FILTERS = (
    click.option("--event", metavar="EVENT", help="Only key.revoke, or all of credential.*"),
    click.option("--key", metavar="ID", help="Only of this key."),
    click.option("--consumer", metavar="NAME", help="Only of this consumer's keys."),
    click.option("--agent", metavar="NAME", help="Only about this agent, models/NAME …"),
    click.option("--user", metavar="ID", help="Only for this user."),
    click.option("--actor", metavar="WHO", help="Only what this operator did."),
    click.option("--decision", type=click.Choice(DECISIONS), help="Only what was decided so."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command` as `wanted` what records have to say, for all of these that are given."""

    @wraps(command)
    def filled(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) or "" for name in FILTERS}
        return command(*args, wanted=wanted_by(given), **options)

    return add_options(filled, *_FILTERS)


@command("gateway audit tail -n 50 --event 'key.*' --follow")
@click.option("-n", "count", type=click.IntRange(0), default=20, show_default=True, help="So many.")
@click.option("--follow", is_flag=True, help="Go on as records come.")
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
    wanted: Wanted,
) -> None:
    """Show the latest records."""
    taken = Taken(wanted, as_json)
    if file is None:
        asyncio.run(show_tail(store, count, taken, follow=follow))
    elif follow:
        raise UsageError("--follow is of the stream: 'tail -F' follows a file.")
    else:
        show_tail_of_file(file, count, taken)


@command("gateway audit export --since 2h > audit.jsonl")
@click.option(
    "--since",
    metavar="WHEN",
    default="1970-01-01",
    callback=read_as(lambda text: parse_since(text, int(time.time()))),
    help="2h (ago), 2027-01-31 or Unix seconds.",
)
@filter_options
@json_already_option
@store_options
def export(store: StoreSettings, since: int, wanted: Wanted) -> None:
    """Write records to stdout, one JSON object a line.

    'verify --file' reads them, with --partial where the oldest are not among them, but not what
    was chosen by what records say: those between are missing.
    """
    asyncio.run(show_all(store, since, wanted))


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
