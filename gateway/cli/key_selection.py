"""Which keys a command is about: named ones, or all of a department's."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from gateway.cli.key_options import KEY_ID, confirm
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.key_views import KeyView, State
from gateway.services.find_keys import of_consumer, one
from gateway.store.keys import KeyStore


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator named. `dry_run`: show it and change nothing."""

    ids: tuple[str, ...]
    consumer: str | None
    dry_run: bool
    yes: bool

    def __post_init__(self) -> None:
        if bool(self.ids) == (self.consumer is not None):
            raise UsageError("Give one or more key ids, or --consumer NAME for all of its keys.")

    @property
    def is_single(self) -> bool:
        return len(set(self.ids)) == 1


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`ID…`, `--consumer`, `--dry-run`, `--yes`."""
    for option in (
        click.argument("ids", metavar="[ID]...", nargs=-1, type=KEY_ID),
        click.option("--consumer", metavar="NAME", help="All keys of this consumer."),
        click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
        click.option("--yes", is_flag=True, help="Do not ask before acting on a consumer's keys."),
    ):
        command = option(command)
    return command


async def select(
    keys: KeyStore, selection: Selection, verb: str, takes: Callable[[KeyView], bool]
) -> list[str]:
    """The ids to act on. Of a consumer's keys only those that `takes` accepts, after asking.

    A revoked key is acted on only where it is named: a command for a whole department must not
    bring back what somebody closed.
    """
    if selection.consumer is None:
        ids = list(dict.fromkeys(selection.ids))
        return [(await one(keys, key_id)).id for key_id in ids] if selection.dry_run else ids
    ids = await _of_consumer(keys, selection.consumer, takes)
    if ids and not selection.dry_run:
        plural = "key" if len(ids) == 1 else "keys"
        confirm(f"{verb} {len(ids)} {plural} of {selection.consumer}?", yes=selection.yes)
    return ids


async def _of_consumer(
    keys: KeyStore, consumer: str, takes: Callable[[KeyView], bool]
) -> list[str]:
    theirs, consumers = await of_consumer(keys, consumer)
    if not theirs:
        near = difflib.get_close_matches(consumer, consumers, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else " See 'gateway keys list'."
        raise OperationError(f"No key belongs to {consumer!r}.{hint}")
    return [key.id for key in theirs if key.state is not State.REVOKED and takes(key)]
