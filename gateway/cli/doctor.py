"""`gateway doctor`."""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click

from gateway.cli.acting import check_vault
from gateway.cli.command import command
from gateway.cli.logs import configure
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import print_json, printable
from gateway.cli.policies.in_use import orphaned, with_credentials
from gateway.cli.privacy import keep_private
from gateway.cli.secret_settings import read_keys
from gateway.cli.surroundings import surroundings
from gateway.cli.vault_settings import existing_store, vault_url
from gateway.domain.errors import StoreError, UsageError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.services.diagnosis.certificates import upstreams_certificates_found
from gateway.services.diagnosis.diagnose import Diagnosis, diagnose
from gateway.services.diagnosis.findings import Finding, Level
from gateway.services.diagnosis.policies import policies_found
from gateway.services.diagnosis.private_files import state_found
from gateway.services.diagnosis.upstreams import upstreams_found
from gateway.services.diagnosis.vault import credentials_found
from gateway.services.policies.directory import read_directory
from gateway.services.policies.orphans import Orphans
from gateway.store.connections.connect import open_store


@command(
    "gateway doctor",
    "gateway doctor --policies /etc/gateway/policies --no-upstreams",
    "gateway doctor --json",
)
@click.option("--no-upstreams", is_flag=True, help="Do not connect to the policies' upstreams.")
@json_option
@policies_option
@store_options
def doctor(store: StoreSettings, policies: Path, as_json: bool, no_upstreams: bool) -> None:
    """Check everything that a gateway depends on, and say how to fix what is wrong.

    Checked as this user and in this environment: Redis, workers, keys, the audit file, credentials,
    policies and their upstreams, files with secrets, certificates, limits of the system. Nothing is
    changed, except that a state directory is closed to other users, and no request is sent to an
    upstream.
    Exit 1 if something is wrong; warnings alone are exit 0.
    """
    keep_private()
    # The findings are the output; log lines would repeat them.
    configure("auto", "error")
    # Opening the store makes its files private, so their modes are checked before.
    state = tuple(state_found(store.state_dir)) if store.url is None else ()
    # Opening a store that does not exist would make it.
    exists = existing_store(store) is not None
    found = asyncio.run(_diagnosed(store)) if exists else _no_store(store)
    usable = store if found.answered else None
    more = (
        *_vault(store, usable),
        *_policies(store, usable, policies, connect=not no_upstreams),
        *state,
        *surroundings(store),
    )
    found = replace(found, findings=(*found.findings, *more))
    if as_json:
        _print_json(found)
    else:
        for finding in found.findings:
            click.echo(f"{finding.level:<5}  {finding.topic:<8}  {printable(finding.sentence)}")
    sys.exit(0 if found.well else 1)


def _vault(store: StoreSettings, usable: StoreSettings | None) -> tuple[Finding, ...]:
    if not _may_read_credentials(store):
        return ()
    try:
        return credentials_found(check_vault(usable, lambda vault: vault.all()))
    except StoreError as problem:
        if vault_url():
            return (Finding("vault", Level.WRONG, f"{problem} Check GATEWAY_VAULT_REDIS_URL."),)
        # If the one Redis does not answer, another finding says so already.
        advice = "give GATEWAY_VAULT_REDIS_URL with a login that may read it."
        sentence = f"The vault was not checked ({problem}): {advice}"
        return (Finding("vault", Level.WARN, sentence),) if usable else ()


def _may_read_credentials(store: StoreSettings) -> bool:
    """Whether a master key was given, or the embedded store is used. An invalid master key is
    reported with the secrets."""
    try:
        given = read_keys("GATEWAY_MASTER_KEY")
    except UsageError:
        return False
    return given is not None or store.url is None


def _policies(
    store: StoreSettings, usable: StoreSettings | None, directory: Path, *, connect: bool
) -> Iterator[Finding]:
    if not directory.is_dir():
        sentence = f"There is no directory {directory} here: give --policies to have them checked."
        yield Finding("policies", Level.WARN, sentence)
        return
    loaded = read_directory(directory)
    found = loaded.policies
    if _may_read_credentials(store):
        loaded = with_credentials(usable, loaded) or loaded
    orphans = orphaned(usable, found) if found else None
    yield from policies_found(directory, loaded, orphans or Orphans())
    if found is not None:
        yield from upstreams_certificates_found(found, time.time())
        if connect:
            yield from asyncio.run(_reach(found))


async def _reach(policies: Policies) -> list[Finding]:
    # Imported late: the client for upstreams takes long to import.
    from gateway.app.upstream_probe import UpstreamProbe

    return await upstreams_found(policies, UpstreamProbe())


def _no_store(store: StoreSettings) -> Diagnosis:
    sentence = (
        f"No Redis is named, and there is no private store in {store.state_dir}: give --redis or "
        "GATEWAY_REDIS_URL as the gateway has it, or start one with 'gateway serve'."
    )
    return Diagnosis((Finding("redis", Level.WARN, sentence),), answered=False)


async def _diagnosed(store: StoreSettings) -> Diagnosis:
    async with open_store(store) as client:
        return await diagnose(client, store.prefix)


def _print_json(found: Diagnosis) -> None:
    print_json(
        {
            "ok": found.well,
            "findings": [{**asdict(finding), "wrong": finding.wrong} for finding in found.findings],
            "workers": [asdict(worker) for worker in found.workers],
            "records_without_hash": list(found.hashless),
        }
    )
