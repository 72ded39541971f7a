"""`gateway keys export` and `import`. No other command prints hashes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from gateway.cli.command import command
from gateway.cli.keys.filter import filter_options
from gateway.cli.keys.issued import new_file
from gateway.cli.keys.options import KEY_ID, plans_of, policies_here, with_keys
from gateway.cli.keys.results import print_changes
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import note, print_json
from gateway.cli.secret_settings import read_peppers
from gateway.crypto.tags import Peppers
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.keys.copies import KeyCopy
from gateway.domain.settings import StoreSettings
from gateway.protocol import key_file
from gateway.protocol.key_file import KeyFileError
from gateway.services.keys import move as move_keys
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.find import KeyFilter, find_key, of_consumer
from gateway.services.keys.lifecycle import KeyChange


@command(
    "gateway keys export --consumer sales --out sales.jsonl",
    "gateway keys export | ssh other-host gateway keys import",
    name="export",
)
@click.argument("ids", metavar="[ID]...", nargs=-1, type=KEY_ID)
@filter_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to a new file, mode 0600. Default: stdout.",
)
@json_option
@store_options
def export_keys(
    store: StoreSettings, as_json: bool, out: Path | None, wanted: KeyFilter, ids: tuple[str, ...]
) -> None:
    """Write the records of keys, with their hashes, for 'import'.

    Without ids and filters, all keys are exported. There is no plaintext key in the output, but it
    is as secret as a dump of Redis.
    """
    if ids and wanted != KeyFilter():
        raise UsageError("Give key ids or filters, not both.")

    async def work(keys: AuditedKeys) -> tuple[int, list[KeyChange]]:
        for key_id in ids:
            await find_key(keys, key_id)
        if wanted.consumer is not None:
            await of_consumer(keys, wanted.consumer)
        with _destination(out) as write:
            return await _export(keys, wanted, tuple(dict.fromkeys(ids)), write)

    count, left_out = with_keys(store, work)
    if as_json and out is not None:
        rows = [{"id": c.id, "note": c.note} for c in left_out]
        print_json({"exported": count, "left_out": rows})
    elif out is not None:
        note(f"{count} {'key is' if count == 1 else 'keys are'} in {out}.")
    for change in left_out:
        note(change.note)
    if left_out:
        sys.exit(1)


async def _export(
    keys: AuditedKeys, wanted: KeyFilter, ids: tuple[str, ...], write: Callable[[str], object]
) -> tuple[int, list[KeyChange]]:
    count, left_out = 0, []
    write(key_file.head())
    async for copy in move_keys.copies(keys, wanted, ids):
        try:
            move_keys.check(copy)
        except UsageError as problem:
            key_id = copy.record.id
            left_out.append(KeyChange(key_id, "refused", f"Key {key_id} is left out: {problem}"))
            continue
        write(key_file.line(copy))
        count += 1
    write(key_file.tail(count))
    return count, left_out


@contextmanager
def _destination(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes a line; a file that does not become complete is removed."""
    if path is None:
        yield click.echo
        return
    number = new_file(path)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            yield lambda text: file.write(f"{text}\n")
            file.flush()
            os.fsync(number)
    except BaseException as problem:
        path.unlink(missing_ok=True)
        if isinstance(problem, OSError):
            raise OperationError(f"{path} cannot be written: {problem.strerror}.") from None
        raise


@command(
    "gateway keys import sales.jsonl --dry-run",
    "gateway keys import sales.jsonl --redis redis://other:6379",
    name="import",
)
@click.argument("file", default="-", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace keys that exist here and differ.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
@policies_option
@store_options
def import_keys(
    store: StoreSettings, policies: Path, as_json: bool, file: Path, **how: Any
) -> None:
    """Import the keys of a file that 'export' wrote. Without FILE, or with '-', read stdin.

    Every record is checked before the first is written. The keys keep their secrets, their counters
    start anew, and a revoked key stays revoked.
    """
    wanted, bad = _checked(file)
    if bad:
        note("Nothing was imported, because some records cannot be.")
        print_changes(bad, as_json=as_json)
    peppers = Peppers(read_peppers(store))
    plans = plans_of(policies_here(policies))

    async def work(keys: AuditedKeys) -> list[KeyChange]:
        return await move_keys.put_all(keys, wanted, **how)

    changes = with_keys(store, work)
    for sentence in move_keys.remarks(wanted, peppers, plans):
        note(sentence)
    print_changes(changes, as_json=as_json)


def _checked(path: Path) -> tuple[list[KeyCopy], list[KeyChange]]:
    try:
        with _source(path) as file:
            lines = iter(partial(file.readline, key_file.LONGEST_LINE + 1), b"")
            return move_keys.sort_out(key_file.read(lines))
    except KeyFileError as problem:
        name = "What came on stdin" if str(path) == "-" else str(path)
        raise OperationError(
            f"{name} is not an export of keys, or not a complete one: {problem}."
        ) from None
    except OSError as problem:
        raise OperationError(f"{path} cannot be read: {problem.strerror}.") from None


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    if str(path) != "-":
        with path.open("rb") as file:
            yield file
        return
    if sys.stdin.isatty():
        raise UsageError("Give the file that 'gateway keys export' wrote, or pipe it in.")
    yield sys.stdin.buffer
