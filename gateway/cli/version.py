"""`gateway version`."""

import click

from gateway import __version__
from gateway.cli.command import command
from gateway.cli.options import json_option
from gateway.cli.output import print_json


@command("gateway version")
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        click.echo(__version__)
