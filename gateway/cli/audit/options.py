"""What `audit` commands share."""

from pathlib import Path

import click

NO_RECORDS = "There are no records yet: acts, uses of credentials and refusals make them."

file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file as GATEWAY_AUDIT_FILE makes it, with those it was rotated into, instead of the "
    "stream in Redis.",
)
