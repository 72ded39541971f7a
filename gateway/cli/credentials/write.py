"""`gateway credentials set` and `rotate`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from gateway.cli.acting import operator, with_vault
from gateway.cli.command import command
from gateway.cli.credentials.values import (
    CREDENTIAL,
    extra_argument,
    from_file_option,
    read_fields,
    refuse_extra,
)
from gateway.cli.options import json_option, parsed, read_as, store_options
from gateway.cli.output import moment, note, print_json
from gateway.domain.credentials import TYPES, Credential, CredentialId, Version
from gateway.domain.keys import expiry
from gateway.domain.settings import StoreSettings
from gateway.domain.units import span
from gateway.services.credentials.vault import Vault
from gateway.services.credentials.views import CredentialView, State


def _whole_span(text: str) -> int:
    seconds = span(text)
    if seconds != int(seconds):
        raise ValueError(f"{text!r} is not a whole number of seconds")
    return int(seconds)


@command(
    'printf %s "$OPENAI_API_KEY" | gateway credentials set openai --type api_key',
    "gateway credentials set aliyun --type ak_sk --from-file aliyun.json",
    "gateway credentials set user/alice/github --type bearer",
    name="set",
)
@click.argument("name", type=CREDENTIAL)
@extra_argument
@click.option(
    "--type",
    "type_name",
    type=click.Choice(list(TYPES)),
    required=True,
    help="Its type, which decides its fields.",
)
@from_file_option
@click.option(
    "--expires",
    metavar="WHEN",
    help="When it expires: 30d, 2027-01-31 or Unix seconds. You are warned before.",
)
@click.option(
    "--max-stale",
    metavar="TIME",
    callback=read_as(_whole_span),
    help="How long to use it while the vault is unreachable; 0: not at all.",
)
@json_option
@store_options
def set_credential(
    store: StoreSettings,
    name: CredentialId,
    extra: tuple[str, ...],
    type_name: str,
    from_file: Path | None,
    expires: str | None,
    max_stale: int | None,
    as_json: bool,
) -> None:
    """Keep a credential in the vault. The value is read from stdin, a file or a prompt.

    NAME is like openai_key, or user/<user id>/github for a user's own. An existing credential is
    replaced at once; 'rotate' can give its old value a grace period.
    """
    refuse_extra(extra)
    fields = read_fields(type_name, from_file)

    async def work(vault: Vault) -> CredentialView:
        return await vault.set(
            Credential(
                name,
                type_name,
                Version(1, fields),
                expires_at=await _expiry(expires, vault),
                max_stale=max_stale,
                created_by=operator(),
            )
        )

    view = with_vault(store, work)
    _print(view, as_json=as_json)


@command(
    'printf %s "$NEW" | gateway credentials rotate openai_key --grace 10m',
    "gateway credentials rotate aliyun --from-file new.json --expires 90d",
)
@click.argument("name", type=CREDENTIAL)
@extra_argument
@from_file_option
@click.option(
    "--grace",
    default="0",
    callback=read_as(_whole_span),
    show_default=True,
    metavar="TIME",
    help="How long the old value may still be used, such as 10m.",
)
@click.option("--expires", metavar="WHEN", help="When the new value expires. Default: as before.")
@json_option
@store_options
def rotate(
    store: StoreSettings,
    name: CredentialId,
    extra: tuple[str, ...],
    from_file: Path | None,
    grace: int,
    expires: str | None,
    as_json: bool,
) -> None:
    """Replace the value of a credential. Fields that are not given stay the same.

    Gateways and agents use the new value within seconds, without a restart.
    """
    refuse_extra(extra)
    # Looked up first, because the type decides how the value on stdin is read.
    type_name = with_vault(store, lambda vault: vault.type_of(name))
    fields: Mapping[str, str] = read_fields(type_name, from_file)

    async def work(vault: Vault) -> CredentialView:
        return await vault.rotate(
            name,
            fields,
            grace,
            expires_at=await _expiry(expires, vault),
            keep_expiry=expires is None,
        )

    view = with_vault(store, work)
    _print(view, as_json=as_json)
    if not as_json and expires is None and view.state in (State.EXPIRING, State.EXPIRED):
        ends = moment(view.expires_at)
        note(f"It still expires with the old value, at {ends}: give --expires for the new one.")


def _print(view: CredentialView, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(view))
        return
    note(f"Credential '{view.name}' is at version {view.version}; its value is never shown again.")
    if TYPES[view.type].decoy:
        note("It is a decoy: its use is refused, and 'gateway audit tail' shows it.")
    elif view.grace_until is not None:
        note(f"The old value may still be used until {moment(view.grace_until)}.")


async def _expiry(expires: str | None, vault: Vault) -> int | None:
    if expires is None:
        return None
    return parsed("--expires", partial(expiry.parse, now=await vault.now()), expires)
