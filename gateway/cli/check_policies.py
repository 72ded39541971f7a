"""`gateway policy check`."""

import asyncio
from dataclasses import replace
from pathlib import Path

import click

from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import note, print_json
from gateway.cli.vault_options import check_vault, running_store
from gateway.domain.errors import StoreError
from gateway.domain.policies import Policies
from gateway.domain.problems import Problem
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import Loaded
from gateway.services.orphans import orphans
from gateway.services.policies import read_directory
from gateway.store.connect import open_store
from gateway.store.keys import KeyStore

CHECK_EPILOG = """\b
Examples:
  gateway policy check
  gateway policy check /etc/gateway/policies --json"""


@click.command(epilog=CHECK_EPILOG)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@json_option
@policies_option
@store_options
def check(store: StoreSettings, policies: Path, as_json: bool, directory: Path | None) -> None:
    """Print every problem of the policies in DIRECTORY as file:line:col; exit 1 if there is one.

    Where Redis can be reached, references to credentials that are not there are problems too,
    and living keys that would lose their plan or agent are warned of.
    """
    where = directory or policies
    loaded = read_directory(where)
    warnings = [str(warning) for warning in loaded.warnings]
    reachable = running_store(store)
    if loaded.policies is not None:
        loaded = _with_credentials(reachable, loaded)
    if loaded.policies is not None:
        warnings += _orphaned(reachable, loaded.policies)
    if as_json:
        print_json(_shape(loaded, warnings))
    else:
        _print(where, loaded, warnings)
    if loaded.policies is None:
        raise SystemExit(1)


def _print(where: Path, loaded: Loaded, warnings: list[str]) -> None:
    for problem in loaded.problems:
        click.echo(str(problem))
    for warning in warnings:
        note(f"warning: {warning}")
    if loaded.policies is not None:
        agents, plans = len(loaded.policies.agents), len(loaded.policies.plans)
        click.echo(f"{where}: no problems; {agents} agents, {plans} plans")


def _shape(loaded: Loaded, warnings: list[str]) -> dict[str, object]:
    return {
        "ok": loaded.policies is not None,
        "revision": loaded.policies.revision if loaded.policies else None,
        "problems": [_problem(problem) for problem in loaded.problems],
        "warnings": warnings,
    }


def _problem(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "message": problem.message,
    }


def _with_credentials(store: StoreSettings | None, loaded: Loaded) -> Loaded:
    """`loaded`, or the problems of its references, where the vault can be asked."""
    policies = loaded.policies
    if policies is None or not policies.mentions:
        return loaded
    try:
        problems = check_vault(store, lambda vault: vault.problems(policies))
    except StoreError as problem:
        note(f"The credentials were not looked at: {problem}")
        return loaded
    return replace(loaded, policies=None, problems=tuple(problems)) if problems else loaded


def _orphaned(store: StoreSettings | None, policies: Policies) -> list[str]:
    """A sentence for each plan or agent that living keys would miss; nothing without a store."""
    if store is None:
        return []
    try:
        return asyncio.run(_ask(store, policies))
    except StoreError as problem:
        note(f"The living keys were not looked at: {problem}")
        return []


async def _ask(store: StoreSettings, policies: Policies) -> list[str]:
    async with open_store(store) as client:
        return await orphans(KeyStore(client, store.prefix), policies)
