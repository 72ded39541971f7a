"""`gateway keys revoke`, `disable`, `enable`, `update` and `delete`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from gateway.cli.acting import confirm
from gateway.cli.command import command
from gateway.cli.keys.facts import print_key
from gateway.cli.keys.options import (
    KEY_ID,
    choose_plan,
    expiry_second,
    plans_of,
    policies_here,
    removal,
    removals,
    split_users,
    warn_of_absent,
    warn_of_plan,
    with_keys,
)
from gateway.cli.keys.results import print_changes
from gateway.cli.keys.selection import Selection, select, selection_options
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import note
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.views import KeyView, view
from gateway.domain.settings import StoreSettings
from gateway.services.keys import bulk, lifecycle
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.bulk import Act
from gateway.services.keys.lifecycle import KeyChange


@command("gateway keys revoke 4xT9mQ2LrB7c")
@selection_options
@json_option
@store_options
def revoke(store: StoreSettings, as_json: bool, selection: Selection) -> None:
    """Close keys for good, from the next request on."""
    _change(store, selection, Act.REVOKE, as_json=as_json)


@command("gateway keys disable --consumer sales --dry-run")
@selection_options
@json_option
@store_options
def disable(store: StoreSettings, as_json: bool, selection: Selection) -> None:
    """Suspend keys, until 'enable'."""
    _change(store, selection, Act.DISABLE, as_json=as_json)


@command("gateway keys enable 4xT9mQ2LrB7c")
@selection_options
@json_option
@store_options
def enable(store: StoreSettings, as_json: bool, selection: Selection) -> None:
    """Undo 'disable'. A revoked key stays revoked: 'rotate' gives it a new secret."""
    _change(store, selection, Act.ENABLE, as_json=as_json)


def _change(store: StoreSettings, selection: Selection, act: Act, *, as_json: bool) -> None:
    async def work(keys: AuditedKeys) -> list[KeyChange]:
        ids = await select(keys, selection, act)
        done = await bulk.change(keys, act, ids, dry_run=selection.dry_run)
        if done.replicated is False:
            note(
                "No replica has acknowledged the revocation: if the primary is lost now, it may "
                "be undone. Run the command again once replication works."
            )
        return list(done.changes)

    print_changes(with_keys(store, work), as_json=as_json)


@command("gateway keys update 4xT9mQ2LrB7c --scope 'agents/faq:*' --expires 30d")
@click.argument("key_id", metavar="ID", type=KEY_ID)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="The new scopes, all of them; repeatable.",
)
@click.option("--consumer", metavar="NAME", help="The new consumer.")
@click.option("--label", metavar="TEXT", help="A new label, free text; '' for none.")
@click.option("--plan", metavar="NAME", help="The new plan; '' for none.")
@click.option("--limits", metavar="TEXT", help="All of the key's own limits; '' for none.")
@click.option(
    "--users", metavar="U1,U2", help="All users it may act for; '' for none, '*' for any."
)
@click.option("--expires", metavar="WHEN", help="30d, 2027-01-31, Unix seconds or 'never'.")
@json_option
@policies_option
@store_options
def update(
    store: StoreSettings,
    policies: Path,
    as_json: bool,
    key_id: str,
    scopes: tuple[str, ...],
    users: str | None,
    expires: str | None,
    **named: Any,
) -> None:
    """Change the given fields of a key, from the next request on."""
    fields = KeyFields(scopes=scopes or None, users=split_users(users), **named)
    fields.values()
    by_policies = (fields.plan, fields.limits, fields.scopes)
    known = policies_here(policies) if by_policies != (None, None, None) else None
    plans = plans_of(known)
    if fields.plan:
        choose_plan(fields.plan, plans)

    async def work(keys: AuditedKeys) -> KeyView:
        whole = replace(fields, expires_at=await expiry_second(keys, expires))
        record, _ = await lifecycle.update(keys, key_id, whole, plans=plans)
        ends = await removals(keys, [key_id]) if expires is not None else {}
        for second in ends.values():
            note(removal(keys, key_id, second))
        return view(record, await keys.now())

    key = with_keys(store, work)
    print_key(asdict(key), as_json=as_json)
    if not as_json and (hindered := lifecycle.hindrance(key)):
        note(hindered)
    if fields.plan:
        warn_of_plan(fields.plan, plans)
    warn_of_absent(scopes, known)


@command("gateway keys delete 4xT9mQ2LrB7c --yes")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, type=KEY_ID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@store_options
def delete(store: StoreSettings, as_json: bool, ids: tuple[str, ...], yes: bool) -> None:
    """Remove keys with their records and counters. 'revoke' instead keeps the record."""
    confirm(f"Delete {', '.join(ids)} for good?", yes=yes)

    async def work(keys: AuditedKeys) -> list[KeyChange]:
        return [await lifecycle.delete(keys, key_id) for key_id in dict.fromkeys(ids)]

    print_changes(with_keys(store, work), as_json=as_json)
