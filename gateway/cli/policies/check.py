"""`gateway policy check`."""

from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.command import command
from gateway.cli.options import json_option, policies_option, store_options
from gateway.cli.output import note, print_json
from gateway.cli.policies.in_use import orphaned, with_credentials
from gateway.cli.vault_settings import existing_store
from gateway.domain.policies.problems import Problem
from gateway.domain.settings import StoreSettings
from gateway.protocol.policy.read import Loaded
from gateway.services.diagnosis.policies import contents
from gateway.services.policies.directory import read_directory


@command("gateway policy check", "gateway policy check /etc/gateway/policies --json")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@json_option
@policies_option
@store_options
def check(store: StoreSettings, policies: Path, as_json: bool, directory: Path | None) -> None:
    """Print every problem of the policies in DIRECTORY.

    Each is printed as file:line:col; exit 1 if there is one.

    If Redis can be reached, missing credentials are problems too, and active keys that would lose
    their plan or agent are warned of. Otherwise --json lists in `unchecked` what was not checked.
    """
    where = directory or policies
    loaded = read_directory(where)
    warnings = [str(warning) for warning in loaded.warnings]
    reachable = existing_store(store)
    looked_up = with_credentials(reachable, loaded)
    loaded = looked_up or loaded
    orphans = orphaned(reachable, loaded.policies) if loaded.policies else None
    warnings += orphans.sentences if orphans else ()
    if as_json:
        unchecked = {"credentials": looked_up is None, "keys": orphans is None}
        print_json(_shape(loaded, warnings, [what for what, yes in unchecked.items() if yes]))
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
        click.echo(f"{where}: no problems; {contents(loaded.policies)}")


def _shape(loaded: Loaded, warnings: list[str], unchecked: list[str]) -> dict[str, object]:
    return {
        "ok": loaded.policies is not None,
        "revision": loaded.policies.revision if loaded.policies else None,
        "problems": [_problem(problem) for problem in loaded.problems],
        "warnings": warnings,
        "unchecked": unchecked,
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {**asdict(problem.place), "message": problem.message}
