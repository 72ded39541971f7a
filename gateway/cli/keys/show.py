"""`gateway keys list` and `show`. No hash and no tag is ever printed."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gateway.cli.command import command
from gateway.cli.keys.facts import all_facts, print_key
from gateway.cli.keys.filter import filter_options
from gateway.cli.keys.options import (
    KEY_ID,
    named_store,
    plans_of,
    policies_here,
    removal,
    removals,
    with_keys,
)
from gateway.cli.options import Whole, json_option, policies_option, store_options
from gateway.cli.output import moment, note, print_json, print_table
from gateway.domain.keys.views import KeyView, view
from gateway.domain.settings import StoreSettings
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.find import KeyFilter, Page, find_key, page

MOST_A_PAGE = 10_000


@command(
    "gateway keys list --consumer sales --expiring-within 7d",
    "gateway keys list --unused-for 90d --status active",
    "gateway keys list --status revoked --json",
    name="list",
)
@filter_options
@click.option(
    "--limit",
    type=Whole(1, MOST_A_PAGE),
    default=100,
    show_default=True,
    help="The most keys on one page.",
)
@click.option(
    "--after", metavar="ID", default="", help="Start after this id: 'next' of the previous page."
)
@json_option
@store_options
def list_keys(
    store: StoreSettings,
    as_json: bool,
    wanted: KeyFilter,
    limit: int,
    after: str,
) -> None:
    """List keys in the order of their ids, one page at a time."""
    if after:
        KEY_ID.convert(after, None, None)

    async def work(keys: AuditedKeys) -> tuple[Page, Mapping[str, int]]:
        found = await page(keys, wanted, limit=limit, after=after)
        return found, await removals(keys, [key.id for key in found.keys])

    found, removed = with_keys(store, work)
    if as_json:
        rows = [asdict(key) | {"removed_at": removed.get(key.id)} for key in found.keys]
        print_json({"keys": rows, "next": found.next})
        return
    print_table(
        ("ID", "CONSUMER", "STATE", "PLAN", "SCOPES", "EXPIRES", "LABEL"),
        [
            (k.id, k.consumer, k.state, k.plan or "", " ".join(k.scopes), _day(k), k.label)
            for k in found.keys
        ],
    )
    if not found.keys:
        none = f"There are no keys yet in {named_store(store)}: 'gateway keys create' makes one."
        note("No key matches." if wanted != KeyFilter() else none)
    if removed:
        note(f"Redis will remove, by an EXPIRE on the record: {', '.join(removed)}.")
    if found.next:
        note(f"There are more: add --after {found.next}")


@command("gateway keys show 4xT9mQ2LrB7c")
@click.argument("key_id", metavar="ID", type=KEY_ID)
@json_option
@policies_option
@store_options
def show(store: StoreSettings, policies: Path, as_json: bool, key_id: str) -> None:
    """Show everything about a key except its secret."""
    plans = plans_of(policies_here(policies))

    async def work(keys: AuditedKeys) -> dict[str, Any]:
        record = await find_key(keys, key_id)
        key = view(record, await keys.now())
        removed = (await removals(keys, [key_id])).get(key_id)
        if removed is not None and not as_json:
            note(removal(keys, key_id, removed))
        return all_facts(record, key, await keys.last_used(key_id), removed, plans)

    print_key(with_keys(store, work), as_json=as_json)


def _day(key: KeyView) -> str:
    return moment(key.expires_at).partition(" ")[0]
