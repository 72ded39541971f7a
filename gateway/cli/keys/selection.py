"""Which keys a command acts on: those named, or all of a consumer's."""

from dataclasses import dataclass

import click

from gateway.cli.acting import confirm
from gateway.cli.keys.options import KEY_ID
from gateway.cli.options import grouped
from gateway.domain.errors import UsageError
from gateway.domain.units import counted
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.bulk import Act, all_of


@dataclass(frozen=True, slots=True)
class Selection:
    """What the operator chose. `dry_run`: show what would be done, and change nothing."""

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


selection_options = grouped(
    Selection,
    "selection",
    click.option("--yes", is_flag=True, help="Do not ask before acting on a consumer's keys."),
    click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    click.option("--consumer", metavar="NAME", help="All keys of this consumer."),
    click.argument("ids", metavar="[ID]...", nargs=-1, type=KEY_ID),
)


async def select(keys: AuditedKeys, selection: Selection, act: Act) -> list[str]:
    """Return the ids to act on. Of a consumer's keys, those that `act` would change; the operator
    is asked first."""
    if selection.consumer is None:
        return list(dict.fromkeys(selection.ids))
    ids = [key.id for key in await all_of(keys, selection.consumer, act)]
    if ids and not selection.dry_run:
        question = f"{act.capitalize()} {counted(len(ids), 'key')} of {selection.consumer}?"
        confirm(question, yes=selection.yes)
    return ids
