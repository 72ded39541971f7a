"""What the `keys` commands share: key ids, plans, access to the records."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.acting import with_acts
from gateway.cli.options import parsed
from gateway.cli.output import moment, note
from gateway.domain.errors import StoreError, UsageError
from gateway.domain.keys import expiry
from gateway.domain.keys.key import KEY_PREFIX, is_id, masked
from gateway.domain.keys.scopes import parse
from gateway.domain.nearest import nearest
from gateway.domain.policies.plans import Plan, default_plan
from gateway.domain.policies.snapshot import Policies
from gateway.domain.policies.unknown_names import unknown_name
from gateway.domain.settings import StoreSettings
from gateway.services.keys.audited import AuditedKeys

T = TypeVar("T")

_ID_IN_KEY = re.compile(r"agk_(?:live|test)_([0-9A-Za-z]{12})(?![0-9A-Za-z])", re.ASCII)


def with_keys(store: StoreSettings, work: Callable[[AuditedKeys], Awaitable[T]]) -> T:
    """Run `work` on the key records; its changes are audited first."""

    def unrecorded(key_id: str) -> None:
        note(f"The revocation of key {key_id} has no audit record: it could not be written.")

    return with_acts(
        store,
        lambda client, acts: work(AuditedKeys(client, store.prefix, acts, unrecorded)),
    )


class KeyIdType(click.ParamType[str]):
    """A key id. A whole key is refused and not repeated, because every process on the machine can
    read a command's arguments."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if is_id(value):
            return value
        if KEY_PREFIX in value:
            found = _ID_IN_KEY.search(value)
            its_id = f": {found.group(1)}" if found else ""
            raise UsageError(
                "That is a whole key, and others can see the arguments of a command: give its id, "
                f"the 12 characters after 'agk_live_'{its_id}."
            )
        raise UsageError(
            "That is not a key id: an id is the 12 letters and digits after 'agk_live_', as in "
            "'gateway keys list'."
        )


KEY_ID = KeyIdType()


def named_store(store: StoreSettings) -> str:
    """Return where the keys are, as a part of a sentence."""
    return "Redis" if store.url else f"the private store in {store.state_dir}"


def split_users(text: str | None) -> tuple[str, ...] | None:
    """Split user ids that are separated by commas or blanks."""
    return None if text is None else tuple(text.replace(",", " ").split())


async def removals(keys: AuditedKeys, ids: Sequence[str]) -> dict[str, int]:
    """Return the ids of the records that Redis removes by itself, each with the Unix second. What
    else a command does must not depend on whether its login may ask this."""
    try:
        return await keys.removals(ids)
    except StoreError as problem:
        note(f"Which of these records Redis will remove by itself is not known: {problem}.")
        return {}


def removal(keys: AuditedKeys, key_id: str, second: int) -> str:
    """Return when Redis removes a record by itself, and what keeps it."""
    keep = f"gateway redis -- PERSIST '{keys.name(key_id)}'"
    return f"Redis will remove this record at {moment(second)}; to keep it: {keep}"


async def expiry_second(keys: AuditedKeys, text: str | None) -> int | None:
    """Return the Unix second that `--expires` names, by Redis' clock; 0 for 'never'."""
    if text is None:
        return None
    return parsed("--expires", partial(expiry.parse, now=await keys.now()), text) or 0


def policies_here(directory: Path) -> Policies | None:
    """Return the policies, or None if they cannot be read here."""
    if not directory.is_dir():
        return None
    # Imported late: most commands need no policies, and pydantic is slow to import.
    from gateway.services.policies.directory import read_directory

    return read_directory(directory).policies


def plans_of(policies: Policies | None) -> Mapping[str, Plan] | None:
    return None if policies is None else policies.plans


def warn_of_absent(scopes: Iterable[str], policies: Policies | None) -> None:
    """Warn of scopes that open nothing. This is no error: a key may be made before its policies."""
    if policies is None:
        return
    for text in dict.fromkeys(scopes):
        scope = parse(text)
        absent = unknown_name(scope, policies) if scope else None
        if absent is not None:
            end = "" if absent.meant else "."
            note(f"The scope {masked(text)} opens nothing yet: {absent}{end}")


def choose_plan(asked: str | None, plans: Mapping[str, Plan] | None) -> str:
    """Return the plan of a new key; UsageError if the policies have no such plan."""
    if asked is None:
        return default_plan(plans or ())
    if asked and plans is not None and asked not in plans:
        near = nearest(asked, plans)
        known = f"did you mean {near!r}?" if near else f"there are: {', '.join(plans) or 'none'}"
        raise UsageError(f"No policy has the plan {asked!r}; {known}")
    return asked


def warn_of_plan(asked: str | None, plans: Mapping[str, Plan] | None) -> None:
    """Warn of a key that has no limits by accident, and of a plan that could not be checked."""
    if asked is None and not choose_plan(asked, plans):
        why = "the policies cannot be read here" if plans is None else "there is no plan 'default'"
        note(f"No --plan was given and {why}: this key has no plan's limits.")
    elif asked and plans is None:
        note(f"The policies cannot be read here, so the plan {asked!r} was not checked.")
