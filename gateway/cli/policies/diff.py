"""`gateway policy diff`."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.command import command
from gateway.cli.options import json_option, store_options
from gateway.cli.output import note, print_json, print_table
from gateway.cli.policies.in_use import with_key_reader
from gateway.cli.policies.loaded import loaded_policies
from gateway.cli.vault_settings import existing_store
from gateway.domain.errors import OperationError
from gateway.domain.policies.diff import KeyDiff, Structure
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.services.policies.diff import Group, KeysChanged, PolicyDiff, diff

NOTHING = Path("-")
# The most items in a cell of the table; --json has all.
MOST_SHOWN = 6
_COLUMNS = ("CONSUMER", "PLAN", "KEYS", "SUCH AS", "LOSE", "GAIN", "LIMITS")


@command(
    "gateway policy diff /etc/gateway/policies policies/",
    "gateway policy diff current next --fail-on-loss && mv -T next current",
    "gateway policy diff - policies/ --json",
    name="diff",
    notes="'current' and 'next' are links to directories: all files change in one step.",
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-on-loss",
    is_flag=True,
    help="Exit 1 if anybody loses something, or if the keys could not be checked.",
)
@json_option
@store_options
def diff_policies(
    store: StoreSettings, as_json: bool, old: Path, new: Path, fail_on_loss: bool
) -> None:
    """Say who gains and who loses when the policies OLD become NEW.

    Both are directories, or '-' for no policies at all. Every active key is checked if Redis can be
    reached. A removed route, a scope that is now required or a stricter limit is a loss.
    """
    changes = _compare(existing_store(store), _read(old), _read(new))
    if as_json:
        print_json(asdict(changes))
    else:
        _print(changes)
    if not fail_on_loss:
        return
    # A script deploys the files on exit 0, which must not happen because Redis was away.
    if changes.keys is None and not changes.structure.is_same:
        raise OperationError("The keys could not be checked, and --fail-on-loss requires it.")
    if changes.loses:
        raise SystemExit(1)


def _read(directory: Path) -> Policies:
    return Policies() if directory == NOTHING else loaded_policies(directory)


def _compare(store: StoreSettings | None, old: Policies, new: Policies) -> PolicyDiff:
    """Compare with the active keys or, if they cannot be read, by the files alone."""
    if store is None:
        note("The active keys were not checked: give --redis. This is what the files say.")
    elif changes := with_key_reader(store, lambda keys: diff(old, new, keys)):
        return changes
    return asyncio.run(diff(old, new, None))


def _print(changes: PolicyDiff) -> None:
    _print_structure(changes.structure)
    keys = changes.keys or KeysChanged(0, ())
    strangers = Group("(without a key)", "", changes.strangers, 0, ())
    groups = [group for group in (strangers, *keys.groups) if group.change != KeyDiff()]
    if groups:
        click.echo()
        print_table(_COLUMNS, map(_row, groups))
        click.echo()
    if changes.keys is not None:
        click.echo(_summary(changes.keys))


def _print_structure(structure: Structure) -> None:
    for name in structure.removed:
        click.echo(f"- {name}")
    for name in structure.added:
        click.echo(f"+ {name}")
    for name, parts in structure.changed.items():
        click.echo(f"~ {name}" + (f": {', '.join(parts)}" if parts else ""))
    if structure.is_same:
        click.echo("The policies say the same.")


def _row(group: Group) -> tuple[str, ...]:
    change = group.change
    lost = [f"everything: {change.refused}"] if change.refused else change.lost
    gained = [f"everything: so far {change.accepted}"] if change.accepted else change.gained
    limits = [f"{limit} ({'stricter' if limit.stricter else 'looser'})" for limit in change.limits]
    more = ", …" if group.count > len(group.ids) else ""
    return (
        group.consumer,
        group.plan,
        str(group.count) if group.count else "",
        ", ".join(group.ids) + more if group.ids else "",
        _some(lost),
        _some(gained),
        _some(limits),
    )


def _some(items: Iterable[str]) -> str:
    every = list(items)
    more = [f"and {len(every) - MOST_SHOWN} more"] if len(every) > MOST_SHOWN else []
    return "; ".join((*every[:MOST_SHOWN], *more))


def _summary(keys: KeysChanged) -> str:
    changed = sum(group.count for group in keys.groups)
    losing = sum(group.count for group in keys.groups if group.change.loses)
    return (
        f"Active keys: {keys.looked_at}; lose something: {losing}; only gain: {changed - losing}."
    )
