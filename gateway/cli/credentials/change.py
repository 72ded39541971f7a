"""`gateway credentials delete` and `rewrap`."""

from collections import Counter

import click

from gateway.cli.credentials.values import CREDENTIAL
from gateway.cli.keys.options import confirm
from gateway.cli.options import json_option, store_options
from gateway.cli.output import note, print_json
from gateway.cli.vault_options import with_vault
from gateway.domain.credentials import CredentialId
from gateway.domain.settings import StoreSettings
from gateway.services.credentials.vault import Vault

REWRAP_EPILOG = """\b
Example:
  GATEWAY_MASTER_KEY="$NEW $OLD" gateway credentials rewrap"""


@click.command(epilog="\b\nExample:\n  gateway credentials delete openai_key --yes")
@click.argument("name", type=CREDENTIAL)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@store_options
def delete(store: StoreSettings, as_json: bool, name: CredentialId, yes: bool) -> None:
    """Remove a credential. Gateways and agents stop using it within their poll."""
    confirm(f"Delete the credential '{name}' for good?", yes=yes)
    with_vault(store, note, lambda vault: vault.delete(name))
    if as_json:
        print_json({"name": str(name), "deleted": True})
    else:
        note(f"Credential '{name}' is deleted.")


@click.command(epilog=REWRAP_EPILOG)
@json_option
@store_options
def rewrap(store: StoreSettings, as_json: bool) -> None:
    """Bring every credential under the current master key, the first of those given.

    Start the gateways with both keys first, and drop the old one when this has ended well. It
    may be stopped at any point and run again; nothing is unreadable meanwhile.
    """

    async def work(vault: Vault) -> tuple[Counter[str], list[str]]:
        outcomes: Counter[str] = Counter()
        problems = []
        async for one in vault.rewrap():
            outcomes[one.outcome] += 1
            if one.problem:
                problems.append(one.problem)
        return outcomes, problems

    outcomes, problems = with_vault(store, note, work)
    counts = {name: outcomes[name] for name in ("rewrapped", "already", "refused")}
    if as_json:
        print_json({**counts, "problems": problems})
    else:
        for problem in problems:
            note(problem)
        note(
            f"{counts['rewrapped']} written anew, {counts['already']} under the current master "
            f"key already, {counts['refused']} refused."
        )
    if problems:
        raise SystemExit(1)
