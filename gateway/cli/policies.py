"""`gateway policy`: who may be called how, as the files say."""

import click

from gateway.cli.check_policies import check
from gateway.cli.diff_policies import diff_policies
from gateway.cli.explain_policies import explain
from gateway.cli.show_policies import schema, show

EPILOG = "\b\nExample:\n  gateway policy check policies/"


@click.group(epilog=EPILOG)
def policy() -> None:
    """Check, show, compare and explain the policies."""


for command in (check, show, diff_policies, explain, schema):
    policy.add_command(command)
