"""`gateway audit`: who did what with which credential."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import click

from gateway.cli.options import json_option, store_options
from gateway.cli.output import moment, note, print_json, print_table
from gateway.cli.vault_options import known_master_keys
from gateway.domain.audit_chains import Chains
from gateway.domain.errors import UsageError
from gateway.domain.expiry import parse_since
from gateway.domain.settings import StoreSettings
from gateway.store.connect import open_store

EPILOG = "\b\nExample:\n  gateway audit verify"
FOLLOW_SECONDS = 0.5

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file as GATEWAY_AUDIT_FILE makes it, instead of the stream in Redis.",
)


@click.group(epilog=EPILOG)
def audit() -> None:
    """Look at the audit records, and prove that none was changed."""


@audit.command(
    epilog="\b\nExamples:\n  gateway audit verify\n  gateway audit verify --file audit.jsonl"
)
@file_option
@json_option
@store_options
def verify(store: StoreSettings, as_json: bool, file: Path | None) -> None:
    """Check every record against its chain; exit 1 and name the first that is not as written.

    Found are records that were changed, dropped, reordered or made up. Not found is a chain cut
    at its end while its writer ran; chains without an end are counted.
    """
    from gateway.crypto.audit_key import audit_keys
    from gateway.crypto.envelope import MasterKeys
    from gateway.store.audit import MOST_RECORDS

    masters = MasterKeys(known_master_keys(store))
    trimmed = file is not None or asyncio.run(_length(store)) >= MOST_RECORDS
    chains = Chains(audit_keys(masters).by_id, signed=bool(masters.ids), trimmed=trimmed)
    bad = asyncio.run(_first_bad(store, file, chains))
    if as_json:
        where, why = bad or (None, None)
        counts = {"records": chains.records, "chains": chains.count, "open": chains.open}
        counts["unsigned"] = chains.unsigned
        print_json({"ok": bad is None, **counts, "bad": where, "reason": why})
    elif bad is not None:
        note(f"The record at {bad[0]} is bad: {bad[1]}.")
    else:
        said = f"{chains.records} records in {chains.count} chains are as they were written"
        click.echo(f"{said}; {chains.open} chains have no end yet.")
    if chains.unsigned:
        note(
            f"{chains.unsigned} records of acts on keys are not signed: they were done where no "
            "master key is. Give the operators of keys one, to have them signed."
        )
    if not masters.ids:
        note("No master key is given: this finds mistakes, but nobody who knows how to forge.")
    if bad is not None:
        raise SystemExit(1)


@audit.command(epilog="\b\nExample:\n  gateway audit tail -n 50 --follow")
@click.option("-n", "count", type=click.IntRange(0), default=20, show_default=True, help="So many.")
@click.option("--follow", is_flag=True, help="Go on as records come.")
@json_option
@file_option
@store_options
def tail(store: StoreSettings, as_json: bool, file: Path | None, count: int, follow: bool) -> None:
    """Show the latest records."""
    asyncio.run(_tail(store, file, count, follow=follow and file is None, as_json=as_json))


@audit.command(epilog="\b\nExample:\n  gateway audit export --since 2h > audit.jsonl")
@click.option("--since", metavar="WHEN", help="2h (ago), 2027-01-31 or Unix seconds.")
@store_options
def export(store: StoreSettings, since: str | None) -> None:
    """Write records to stdout, one JSON object a line; all of them as 'verify --file' reads."""
    # A stream's ids begin with the millisecond in which an entry was made.
    after = "-" if since is None else f"{_since(since)}000-0"

    async def work() -> None:
        async for _, record in _records(store, None, after):
            click.echo(record)

    asyncio.run(work())


def _since(text: str) -> int:
    try:
        return parse_since(text, int(time.time()))
    except ValueError as problem:
        raise UsageError(f"--since: {problem}.") from None


async def _first_bad(
    store: StoreSettings, file: Path | None, chains: Chains
) -> tuple[str, str] | None:
    async for where, record in _records(store, file):
        problem = chains.problem(record)
        if problem:
            return where, problem
    return None


async def _length(store: StoreSettings) -> int:
    from gateway.store.audit import AuditStore

    async with open_store(store) as client:
        return await AuditStore(client, store.prefix).length()


async def _records(
    store: StoreSettings, file: Path | None, after: str = "-"
) -> AsyncIterator[tuple[str, str]]:
    from gateway.store.audit import AuditFile, AuditStore

    if file is not None:
        for line in AuditFile(file).read():
            yield line
        return
    async with open_store(store) as client:
        async for entry in AuditStore(client, store.prefix).read(after):
            yield entry


async def _tail(
    store: StoreSettings, file: Path | None, count: int, *, follow: bool, as_json: bool
) -> None:
    kept: deque[str] = deque(maxlen=count)
    last = "-"
    async for where, record in _records(store, file):
        kept.append(record)
        last = f"({where}"
    _show(kept, as_json=as_json)
    while follow:
        await asyncio.sleep(FOLLOW_SECONDS)
        news = [entry async for entry in _records(store, None, last)]
        if news:
            last = f"({news[-1][0]}"
            _show([record for _, record in news], as_json=as_json)


def _show(records: "deque[str] | list[str]", *, as_json: bool) -> None:
    if as_json:
        for record in records:
            click.echo(record)
        return
    rows = [_row(record) for record in records]
    print_table(("TIME", "EVENT", "KEY", "CONSUMER", "USER", "CREDENTIALS", "STATUS", "CODE"), rows)


def _row(text: str) -> tuple[str, ...]:
    try:
        record = json.loads(text)
        # 0: of no version in particular.
        used = ((one["name"], one["version"]) for one in record["credentials"])
        named = [f"{name}@{version}" if version else name for name, version in used]
        who = record["consumer"] or record.get("actor", "")
        told = (record["event"], record["key_id"], who, record["user"])
        status = str(record["status"] or "")
        return (moment(int(record["ts"])), *map(str, told), " ".join(named), status, record["code"])
    except (ValueError, KeyError, TypeError):
        return ("", "no audit record", "", "", "", "", "", "")
