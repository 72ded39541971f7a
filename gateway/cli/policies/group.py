"""`gateway policy`: who may be called how, as the files say."""

import click

from gateway.cli.policies.check import check
from gateway.cli.policies.diff import diff_policies
from gateway.cli.policies.explain import explain
from gateway.cli.policies.show import schema, show

EPILOG = "\b\nExample:\n  gateway policy check policies/"


@click.group(epilog=EPILOG)
def policy() -> None:
    """Check, show, compare and explain the policies."""


for command in (check, show, diff_policies, explain, schema):
    policy.add_command(command)
