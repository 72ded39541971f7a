"""`gateway policy explain`."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from gateway.cli.acting import in_vault
from gateway.cli.command import command
from gateway.cli.keys.options import KEY_ID
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import print_facts, print_json, printable
from gateway.cli.policies.loaded import loaded_policies
from gateway.domain.credentials import TYPES, CredentialId
from gateway.domain.errors import MissingError, OperationError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.services.admission.explain import Explainer, Explanation
from gateway.services.admission.question import Question
from gateway.services.credentials.current import lacking
from gateway.services.credentials.vault import Vault
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import open_lines, open_store, resolved
from gateway.store.key_reader import KeyReader


@command(
    "gateway policy explain --key ID --method POST --url /agents/support/chat",
    "gateway policy explain --key ID --url https://support.example.com/chat",
    "gateway policy explain --key ID --url /tools/fc/mcp --tool search --user u1",
    "gateway policy explain --key ID --url /models/v1/responses --model gpt-4",
    "gateway policy explain --key ID --url '/v1/credentials?names=openai_key'",
)
@click.option("--key", "key_id", metavar="ID", type=KEY_ID, help="The key's id. Default: no key.")
@click.option(
    "--method",
    default="GET",
    show_default=True,
    metavar="METHOD",
    help="The method of the request.",
)
@click.option("--url", required=True, metavar="URL", help="A path, or a URL with a host.")
@click.option(
    "--tool",
    default="",
    metavar="TOOL",
    help="The tool that is called at /tools/NAME/mcp, by POST.",
)
@click.option("--model", default="", metavar="NAME", help="The model that the body names, by POST.")
@click.option("--user", default="", metavar="USER", help="The user in X-User-Id.")
@json_option
@policies_option
@store_options
def explain(
    store: StoreSettings, policies: Path, as_json: bool, key_id: str | None, **asked: str
) -> None:
    """Say what would happen to a request, and why. Nothing is charged."""
    if asked["tool"] or asked["model"]:
        asked["method"] = "POST"
    question = Question(key_id=key_id or "", **asked)
    explanation = asyncio.run(ask(store, loaded_policies(policies), question))
    if as_json:
        print_json(_shape(explanation))
        return
    print_facts((step.about, step.text) for step in explanation.steps)
    click.echo(printable(_verdict(explanation)))


async def ask(settings: StoreSettings, policies: Policies, question: Question) -> Explanation:
    """Explain what would happen to a request; StoreError if the store does not answer."""
    # Imported late, because it imports the whole admin API.
    from gateway.admin.routes import powers_at

    async with resolved(settings) as store, open_store(store) as client:
        admission = Admission(open_lines(store, PREPARE), store.prefix)
        try:
            keys = KeyReader(client, store.prefix)
            check = partial(_check_usable, store)
            return await Explainer(policies, keys, admission, powers_at, check).explain(question)
        finally:
            await admission.close()


async def _check_usable(store: StoreSettings, ids: Sequence[CredentialId]) -> None:
    """Raise Denied if one of these is not in the vault, or is a decoy; OperationError if one cannot
    be decrypted here: a gateway may have another master key, or have it in memory."""

    async def look(vault: Vault) -> None:
        problem = ""
        for name in ids:
            try:
                view = await vault.show(name)
            except MissingError:
                raise lacking(name) from None
            if view.type and TYPES[view.type].decoy:
                raise lacking(name)
            problem = problem or view.problem
        if problem:
            raise OperationError(problem)

    await in_vault(store, look)


def _verdict(explanation: Explanation) -> str:
    if explanation.denied is None:
        shadow = (
            f" (a rule with enforce: false would refuse it: {explanation.shadow})"
            if explanation.shadow
            else ""
        )
        if not explanation.upstream:
            return f"Answered by the gateway itself{shadow}"
        return f"Forwarded to {explanation.upstream}{shadow}"
    row = explanation.denied.denial
    return f"Refused: {row.status} {row.name}. {explanation.denied}"


def _shape(explanation: Explanation) -> dict[str, object]:
    denied = explanation.denied
    return {
        "decision": "deny" if denied else "allow",
        "status": denied.denial.status if denied else None,
        "code": denied.denial.name if denied else None,
        "message": str(denied) if denied else None,
        **(dict(denied.fields) if denied else {}),
        "upstream": explanation.upstream or None,
        "shadow": explanation.shadow or None,
        "steps": [{"step": step.about, "found": step.text} for step in explanation.steps],
    }
