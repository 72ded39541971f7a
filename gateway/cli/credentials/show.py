"""`gateway credentials list` and `show`. No value is ever printed."""

from dataclasses import asdict

import click

from gateway.cli.acting import with_vault
from gateway.cli.command import command
from gateway.cli.credentials.values import CREDENTIAL
from gateway.cli.options import json_option, store_options
from gateway.cli.output import moment, note, print_facts, print_json, print_table
from gateway.domain.credentials import CredentialId
from gateway.domain.settings import StoreSettings
from gateway.services.credentials.vault import Vault
from gateway.services.credentials.views import CredentialView, State


@command("gateway credentials list", "gateway credentials list --json", name="list")
@json_option
@store_options
def list_credentials(store: StoreSettings, as_json: bool) -> None:
    """List credentials and their states, never their values."""
    found = with_vault(store, Vault.all)
    if as_json:
        print_json({"credentials": [asdict(view) for view in found]})
        return
    print_table(
        ("NAME", "TYPE", "STATE", "VERSION", "FIELDS", "EXPIRES", "MAX STALE", "GRACE UNTIL"),
        [_row(view) for view in found],
    )
    if not found:
        note("There are no credentials yet: 'gateway credentials set' makes one.")
    for view in found:
        if view.state is State.BROKEN:
            note(view.problem)


@command("gateway credentials show openai_key --json")
@click.argument("name", type=CREDENTIAL)
@json_option
@store_options
def show(store: StoreSettings, as_json: bool, name: CredentialId) -> None:
    """Show everything about a credential except its value."""
    view = with_vault(store, lambda vault: vault.show(name))
    if as_json:
        print_json(asdict(view))
        return
    print_facts(
        (
            ("name", view.name),
            ("type", view.type),
            ("state", view.state.value),
            ("problem", view.problem),
            ("fields", ", ".join(view.fields)),
            ("version", str(view.version or "")),
            ("expires", moment(view.expires_at)),
            ("max stale", _stale(view)),
            ("grace until", moment(view.grace_until)),
            ("created", moment(view.created_at)),
            ("created by", view.created_by),
            ("rotated", moment(view.rotated_at)),
            ("master key", view.master_key),
        )
    )


def _row(view: CredentialView) -> tuple[str, ...]:
    return (
        view.name,
        view.type,
        view.state.value,
        str(view.version or ""),
        " ".join(view.fields),
        moment(view.expires_at)[:10],
        _stale(view),
        moment(view.grace_until),
    )


def _stale(view: CredentialView) -> str:
    return "" if view.max_stale is None else f"{view.max_stale} s"
