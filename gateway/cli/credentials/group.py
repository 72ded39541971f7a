"""`gateway credentials`: what agents need of others, kept in the vault."""

import click

from gateway.cli.credentials.change import delete, rewrap
from gateway.cli.credentials.show import list_credentials, show
from gateway.cli.credentials.write import rotate, set_credential

EPILOG = """\b
Example:
  printf %s "$OPENAI_API_KEY" | gateway credentials set openai_key --type api_key"""


@click.group(epilog=EPILOG)
def credentials() -> None:
    """Keep, rotate and remove outbound credentials. No command ever shows a value."""


for command in (set_credential, list_credentials, show, rotate, delete, rewrap):
    credentials.add_command(command)
