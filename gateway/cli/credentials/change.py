"""`gateway credentials delete` and `rewrap`."""

from collections import Counter
from pathlib import Path

import click

from gateway.cli.acting import confirm, with_vault
from gateway.cli.command import command
from gateway.cli.credentials.values import CREDENTIAL
from gateway.cli.keys.options import policies_here
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import note, print_json
from gateway.domain.credentials import CredentialId
from gateway.domain.settings import StoreSettings
from gateway.services.credentials.vault import Vault

MOST_PLACES = 5


@command("gateway credentials delete openai_key --yes")
@click.argument("name", type=CREDENTIAL)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@policies_option
@store_options
def delete(
    store: StoreSettings, policies: Path, as_json: bool, name: CredentialId, yes: bool
) -> None:
    """Remove a credential. Gateways and agents stop using it within seconds."""
    _warn_of_mentions(name, policies)
    confirm(f"Delete the credential '{name}' for good?", yes=yes)
    with_vault(store, lambda vault: vault.delete(name))
    if as_json:
        print_json({"name": str(name), "deleted": True})
    else:
        note(f"Credential '{name}' is deleted.")


def _warn_of_mentions(name: CredentialId, directory: Path) -> None:
    """Warn of policies that need the credential. A user's own is never required: policies name it
    without its user."""
    policies = policies_here(directory)
    if policies is None or name.owner:
        return
    own = (one for one in policies.mentions if not one.reference.of_user)
    places = sorted({one.place for one in own if one.reference.name == name.name})
    if places:
        where = ", ".join(map(str, places[:MOST_PLACES]))
        more = len(places) - MOST_PLACES
        also = f" and {more} more" if more > 0 else ""
        note(
            f"Policies name '{name}' at {where}{also}: without it, calls that need it are refused, "
            "and so is the next reload."
        )


@command('GATEWAY_MASTER_KEY="$NEW $OLD" gateway credentials rewrap')
@json_option
@store_options
def rewrap(store: StoreSettings, as_json: bool) -> None:
    """Encrypt every credential under the current master key.

    This is the first of the keys given. Start the gateways with both keys first, and drop the old
    key when this command has succeeded. It can be stopped at any point and run again; every
    credential stays readable meanwhile.
    """

    async def work(vault: Vault) -> tuple[Counter[str], list[str]]:
        outcomes: Counter[str] = Counter()
        problems = []
        async for one in vault.rewrap():
            outcomes[one.outcome] += 1
            if one.problem:
                problems.append(one.problem)
        return outcomes, problems

    outcomes, problems = with_vault(store, work)
    counts = {name: outcomes[name] for name in ("rewrapped", "already", "refused")}
    if as_json:
        print_json({**counts, "problems": problems})
    else:
        for problem in problems:
            note(problem)
        note(
            f"{counts['rewrapped']} rewrapped, {counts['already']} already under the current "
            f"master key, {counts['refused']} refused."
        )
    if problems:
        raise SystemExit(1)
