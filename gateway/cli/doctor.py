"""`gateway doctor`."""

import asyncio
import os
import sys
from dataclasses import asdict, replace

import click

from gateway.cli.options import json_option, read_keys, store_options
from gateway.cli.output import print_json, printable
from gateway.cli.vault_options import check_vault, running_store
from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.services.diagnose import Diagnosis, Finding, credentials_found, diagnose
from gateway.store.connect import open_store

EPILOG = """\b
Examples:
  gateway doctor
  gateway doctor --json"""


@click.command(epilog=EPILOG)
@json_option
@store_options
def doctor(store: StoreSettings, as_json: bool) -> None:
    """Look at Redis, the workers, keys and credentials; exit 1 if something is wrong."""
    found = asyncio.run(_look(store))
    found = replace(found, findings=(*found.findings, *_vault(store)))
    if as_json:
        _print_json(found)
    else:
        for finding in found.findings:
            mark = "wrong" if finding.wrong else "ok"
            click.echo(f"{mark:<5}  {finding.topic:<7}  {printable(finding.sentence)}")
    sys.exit(0 if found.well else 1)


def _vault(store: StoreSettings) -> tuple[Finding, ...]:
    """Nothing where no master key is given for a Redis that is given: whoever looks then has no
    right to read credentials."""
    given = read_keys("GATEWAY_MASTER_KEY_FILE", "GATEWAY_MASTER_KEY")
    if given is None and store.url is not None:
        return ()
    try:
        return credentials_found(check_vault(running_store(store), lambda vault: vault.all()))
    except StoreError as problem:
        if not os.environ.get("GATEWAY_VAULT_REDIS_URL"):
            # The one Redis there is has been told of already.
            return ()
        return (Finding("vault", True, f"{problem} Check GATEWAY_VAULT_REDIS_URL."),)


async def _look(store: StoreSettings) -> Diagnosis:
    async with open_store(store) as client:
        return await diagnose(client, store.prefix)


def _print_json(found: Diagnosis) -> None:
    print_json(
        {
            "ok": found.well,
            "findings": [asdict(finding) for finding in found.findings],
            "workers": [asdict(worker) for worker in found.workers],
            "records_without_hash": list(found.hashless),
        }
    )
