"""`gateway audit verify` and `anchor`."""

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.audit.options import NO_RECORDS, file_option
from gateway.cli.audit_settings import read_audit
from gateway.cli.command import command
from gateway.cli.options import json_already_option, json_option, store_options
from gateway.cli.output import note, print_json
from gateway.cli.vault_settings import known_master_keys
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.anchor import ChainEnd, read_anchor, write_anchor
from gateway.domain.audit.chains import Chains
from gateway.domain.errors import OperationError
from gateway.domain.settings import StoreSettings
from gateway.domain.units import counted
from gateway.services.audit.verify import Verdict
from gateway.services.audit.verify import verify as verify_records
from gateway.store.audit import AuditStore
from gateway.store.audit_file import is_whole, read_lines
from gateway.store.connections.connect import open_store

_MISSING_IN_FILE = (
    "If the stream had dropped its oldest records before the export, if older files were removed, "
    "or if this is a part of an export: add --partial."
)
_MISSING_IN_STREAM = (
    "If the gateway keeps fewer records than this command assumes: give the command the gateway's "
    "GATEWAY_AUDIT_RECORDS and GATEWAY_AUDIT_AGE."
)

partial_option = click.option(
    "--partial",
    is_flag=True,
    help="The records are not complete, such as an export of a stream that has dropped its oldest "
    "ones: chains may begin earlier, and a record that a full disk or a loss of power cut short is "
    "counted and not bad.",
)

unsigned_option = click.option(
    "--allow-unsigned",
    is_flag=True,
    help="Accept unsigned records of acts on keys, made where there was no master key. Anybody who "
    "can write records can make these up.",
)


@command(
    "gateway audit verify",
    "gateway audit verify --file audit.jsonl",
    "gateway audit verify --anchor anchor.json",
)
@file_option
@click.option(
    "--anchor",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that 'gateway audit anchor' wrote: find chains that have become shorter since.",
)
@partial_option
@unsigned_option
@json_option
@store_options
def verify(
    store: StoreSettings,
    as_json: bool,
    file: Path | None,
    anchor: Path | None,
    partial: bool,
    allow_unsigned: bool,
) -> None:
    """Check every record against its chain.

    The first bad record is named, with exit 1. This finds records that were changed, dropped,
    reordered or made up. A chain that was cut at its end while its writer ran is found only with an
    anchor; chains without an end are counted.
    """
    look = _verified(store, file, anchor, partial=partial, allow_unsigned=allow_unsigned)
    verdict, _ = asyncio.run(look)
    if as_json:
        print_json(asdict(verdict))
    elif verdict.bad is not None:
        is_chain = verdict.bad.startswith("chain ")
        what = (
            f"The audit is bad: {verdict.bad}"
            if is_chain
            else f"The record at {verdict.bad} is bad"
        )
        note(f"{what}: {verdict.reason}.")
    else:
        intact = f"The records are intact: {verdict.records} in {counted(verdict.chains, 'chain')}"
        click.echo(f"{intact}, of which {verdict.open} still open.")
    for sentence in _notes(verdict, file):
        note(sentence)
    if verdict.bad is not None:
        raise SystemExit(1)


@command("gateway audit anchor --out /elsewhere/anchor-$(date +%F).json")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write. Default: stdout.",
)
@file_option
@partial_option
@unsigned_option
@json_already_option
@store_options
def anchor(
    store: StoreSettings, file: Path | None, out: Path | None, partial: bool, allow_unsigned: bool
) -> None:
    """Write a signed statement of how far each chain goes.

    Keep it away from the records. 'gateway audit verify --anchor FILE' later finds what was cut off
    since. All records are verified first; there is no anchor of bad ones. An anchor that is in FILE
    already is only replaced if the records still go as far as it says.
    """
    before = out if out is not None and _has_text(out) else None
    look = _verified(store, file, before, partial=partial, allow_unsigned=allow_unsigned)
    verdict, text = asyncio.run(look)
    if not verdict.signed:
        raise OperationError("No master key is given: an anchor that nobody signed proves nothing.")
    if verdict.bad is not None:
        against = "" if before is None else f" --anchor {before}"
        kept = "" if before is None else f" {before} is left as it was."
        raise OperationError(
            f"{verdict.bad} is bad: {verdict.reason}. See 'gateway audit verify{against}'.{kept}"
        )
    if out is None:
        click.echo(text)
        return
    try:
        _write_whole(out, f"{text}\n")
    except OSError as problem:
        raise OperationError(f"{out} cannot be written: {problem.strerror}.") from None
    note(f"{out} anchors {counted(verdict.chains, 'chain')}.")


def _has_text(path: Path) -> bool:
    """Whether it is a file, no pipe and no device, that is not empty."""
    return path.is_file() and path.stat().st_size > 0


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a failure must not destroy the previous anchor."""
    if path.exists() and not path.is_file():
        # A pipe, or a device.
        path.write_text(text)
        return
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


async def _verified(
    store: StoreSettings,
    file: Path | None,
    anchor: Path | None,
    *,
    partial: bool,
    allow_unsigned: bool,
) -> tuple[Verdict, str]:
    """Return the verdict on the records, and an anchor of them."""
    masters = MasterKeys(known_master_keys(store))
    keys = audit_keys(masters)
    chains = Chains(
        keys.by_id,
        signed=bool(masters.ids),
        gone_before=math.inf if partial else await _gone_before(store, file),
        may_be_torn=partial,
        anchor={} if anchor is None else _read_anchor(anchor, keys.by_id),
    )
    # Closed here: the end of the event loop would close it and what it opened at the same time.
    async with aclosing(_records(store, file)) as records:
        verdict = await verify_records(records, chains, allow_unsigned=allow_unsigned)
    made = write_anchor(chains.ends, round(time.time(), 3), keys.current, keys.signing)
    return verdict, made


def _read_anchor(path: Path, keys: Mapping[str, bytes]) -> Mapping[str, ChainEnd]:
    try:
        return read_anchor(path.read_text(encoding="utf-8"), keys)
    except OSError as problem:
        raise OperationError(f"{path} cannot be read: {problem.strerror}.") from None
    except ValueError as problem:
        raise OperationError(f"{path} is not taken as an anchor: {problem}.") from None


async def _gone_before(store: StoreSettings, file: Path | None) -> float:
    """Return the time before which records may have been dropped: from files by rotation, from the
    stream by the gateway's retention settings."""
    if file is not None:
        return -math.inf if is_whole(file) else math.inf
    retention = read_audit().retention
    async with open_store(store) as client:
        return await AuditStore(client, store.prefix).gone_before(retention)


def _notes(verdict: Verdict, file: Path | None) -> Iterator[str]:
    """Yield the sentences that explain and qualify a verdict."""
    if verdict.bad is None and not (verdict.records or verdict.torn):
        yield NO_RECORDS
    if verdict.unsigned:
        yield (
            f"Not signed: {counted(verdict.unsigned, 'record')} of acts on keys. Set the master "
            "key wherever keys are changed; if you know that these acts were made without it, "
            "--allow-unsigned accepts them."
        )
    if verdict.late:
        yield (
            f"{counted(verdict.late, 'chain')} began earlier: older records were dropped, or are "
            f"in {'older files' if file else 'an export'}."
        )
    if verdict.torn:
        yield (
            f"Cut short: {counted(verdict.torn, 'record')}. If a full disk caused it, what was to "
            "be recorded did not happen."
        )
    if verdict.passed:
        yield (
            f"Not compared with the anchor: {counted(verdict.passed, 'chain')}, with records that "
            "are older than what is kept. Make a new anchor before the old records are dropped."
        )
    if "missing" in (verdict.reason or ""):
        yield _MISSING_IN_FILE if file else _MISSING_IN_STREAM
    if not verdict.signed:
        yield "No master key is given: this finds accidental damage, but no deliberate forgery."


async def _records(
    store: StoreSettings, file: Path | None
) -> AsyncGenerator[tuple[str, str], None]:
    if file is not None:
        for line in read_lines(file):
            yield line
        return
    async with open_store(store) as client:
        async for entry in AuditStore(client, store.prefix).read():
            yield entry
