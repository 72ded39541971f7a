"""`gateway doctor`."""

import asyncio
import sys
from dataclasses import asdict

import click

from gateway.cli.options import json_option, store_options
from gateway.cli.output import print_json, printable
from gateway.domain.settings import StoreSettings
from gateway.services.diagnose import Diagnosis, diagnose
from gateway.store.connect import open_store

EPILOG = """\b
Examples:
  gateway doctor
  gateway doctor --json"""


@click.command(epilog=EPILOG)
@json_option
@store_options
def doctor(store: StoreSettings, as_json: bool) -> None:
    """Look at Redis, the workers and the keys' records; exit 1 if something is wrong."""
    found = asyncio.run(_look(store))
    if as_json:
        _print_json(found)
    else:
        for finding in found.findings:
            mark = "wrong" if finding.wrong else "ok"
            click.echo(f"{mark:<5}  {finding.topic:<7}  {printable(finding.sentence)}")
    sys.exit(0 if found.well else 1)


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
