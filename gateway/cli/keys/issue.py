"""`gateway keys create` and `rotate`: the commands that print a key, once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gateway.cli.acting import operator
from gateway.cli.command import command
from gateway.cli.keys.issued import (
    KeyFile,
    explain_created,
    explain_rotated,
    print_issued,
    warn_of_rotated,
)
from gateway.cli.keys.options import (
    choose_plan,
    expiry_second,
    plans_of,
    policies_here,
    split_users,
    warn_of_absent,
    warn_of_plan,
    with_keys,
)
from gateway.cli.keys.results import print_changes
from gateway.cli.keys.selection import Selection, select, selection_options
from gateway.cli.options import json_option, policies_option, read_as, store_options
from gateway.cli.output import note, with_progress
from gateway.cli.secret_settings import read_peppers
from gateway.crypto.draw import draw
from gateway.crypto.tags import Peppers
from gateway.domain.errors import GatewayError, UsageError
from gateway.domain.keys.fields import KeyFields, check_limits
from gateway.domain.keys.key import ENVS, Env
from gateway.domain.settings import StoreSettings
from gateway.domain.units import span
from gateway.services.keys.audited import AuditedKeys
from gateway.services.keys.bulk import Act, claimed, rotations, would_rotate
from gateway.services.keys.issue import Issued, Issuer
from gateway.services.keys.lifecycle import KeyChange

quiet_option = click.option("--quiet", is_flag=True, help="Print only the key.")


def _not_empty(_context: click.Context, _option: click.Parameter, key: str | None) -> str:
    # With an empty shell variable, every repeat would silently be a new act.
    if key == "":
        raise UsageError("--idempotency-key is empty: give it a value or leave it out.")
    return key or ""


idempotency_option = click.option(
    "--idempotency-key",
    metavar="K",
    callback=_not_empty,
    help="Repeat a call with the same value within 10 minutes to replace a secret that was lost.",
)


@command(
    "gateway keys create --consumer sales --scope agents/support --expires 30d",
    "KEY=$(gateway keys create --consumer sales --scope 'agents/*' --quiet)",
)
@click.option("--consumer", required=True, metavar="NAME", help="Who holds the key.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="What the key may do; repeatable.",
)
@click.option(
    "--plan", metavar="NAME", help="The plan with its limits. Default: the plan 'default'."
)
@click.option(
    "--limits",
    metavar="TEXT",
    help="Own limits, such as 'rate=5/s quota=100/d', which replace the plan's item by item.",
)
@click.option("--users", metavar="U1,U2", help="The users it may act for; '*' for any.")
@click.option("--expires", metavar="WHEN", help="When it expires: 30d, 2027-01-31 or Unix seconds.")
@click.option("--label", metavar="TEXT", help="Free text, for people.")
@click.option(
    "--env",
    type=click.Choice(ENVS),
    default="live",
    show_default=True,
    help="A mark in the key itself, on which nothing depends.",
)
@click.option(
    "--canary",
    is_flag=True,
    help="Make a decoy: it never works, and its use has its own audit event and metric.",
)
@idempotency_option
@quiet_option
@json_option
@policies_option
@store_options
def create(
    store: StoreSettings,
    policies: Path,
    as_json: bool,
    quiet: bool,
    idempotency_key: str,
    canary: bool,
    env: Env,
    expires: str | None,
    users: str | None,
    **named: Any,
) -> None:
    """Make a key and print it. It is never shown again."""
    fields = KeyFields(users=split_users(users), **named)
    fields.values()
    known = policies_here(policies)
    plans = plans_of(known)
    asked = fields.plan
    fields = replace(fields, plan=choose_plan(asked, plans))
    if plans is not None:
        check_limits(fields.plan or "", fields.limits or "", plans)
    peppers = Peppers(read_peppers(store))

    async def work(keys: AuditedKeys) -> Issued:
        whole = replace(fields, expires_at=await expiry_second(keys, expires))
        issuer = Issuer(keys, peppers, draw)
        return await issuer.create(whole, env, operator(), idempotency_key, canary=canary)

    issued = with_keys(store, work)
    print_issued(issued, as_json=as_json)
    warn_of_plan(asked, plans)
    warn_of_absent(fields.scopes or (), known)
    if not (quiet or as_json):
        explain_created(issued, store, known)


@command(
    "gateway keys rotate 4xT9mQ2LrB7c --grace 24h",
    "gateway keys rotate --consumer sales --grace 24h --out sales.jsonl --yes",
)
@selection_options
@click.option(
    "--grace",
    default="0",
    callback=read_as(span),
    show_default=True,
    metavar="TIME",
    help="How long the old secret keeps working, such as 24h.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file for the keys: mode 0600, one JSON object a line.",
)
@idempotency_option
@quiet_option
@json_option
@store_options
def rotate(
    store: StoreSettings,
    as_json: bool,
    quiet: bool,
    idempotency_key: str,
    out: Path | None,
    grace: float,
    selection: Selection,
) -> None:
    """Give keys a new secret; id, scopes and limits stay the same.

    A revoked key becomes active again, without grace. A disabled key stays disabled.
    """
    if out is None and not (selection.is_single or selection.dry_run):
        raise UsageError(
            "Several keys are not printed: add --out FILE to write them to a new file."
        )
    peppers = Peppers(read_peppers(store))

    async def work(keys: AuditedKeys) -> list[KeyChange]:
        ids = await select(keys, selection, Act.ROTATE)
        if selection.dry_run:
            return await would_rotate(keys, ids)
        if idempotency_key and selection.consumer is not None:
            request = f"rotate {selection.consumer}"
            ids = await claimed(keys, idempotency_key, request, *ids)
        issuer = Issuer(keys, peppers, draw)
        if out is not None:
            named = selection.consumer is None
            rotated = rotations(issuer, ids, grace, idempotency_key, revive=named)
            return await _into_file(out, keys, with_progress("Rotating", rotated, len(ids)))
        issued = await issuer.rotate(ids[0], grace, idempotency_key)
        print_issued(issued, as_json=as_json)
        now = await keys.now()
        if quiet or as_json:
            warn_of_rotated(issued, grace, now)
        else:
            note(explain_rotated(issued, now))
        return []

    changes = with_keys(store, work)
    if selection.dry_run or out is not None:
        print_changes(changes, as_json=as_json)


async def _into_file(
    path: Path, keys: AuditedKeys, rotated: AsyncIterator[tuple[str, Issued | GatewayError]]
) -> list[KeyChange]:
    """Write the new keys to a new file; return what happened to each."""
    changes = []
    with KeyFile(path) as file:
        async for key_id, issued in rotated:
            if isinstance(issued, GatewayError):
                changes.append(KeyChange(key_id, "refused", str(issued)))
                continue
            file.add(issued)
            changes.append(KeyChange(key_id, "rotated", explain_rotated(issued, await keys.now())))
    return changes
