"""`gateway credentials`: the outbound credentials in the vault."""

from gateway.cli.command import group
from gateway.cli.credentials.change import delete, rewrap
from gateway.cli.credentials.show import list_credentials, show
from gateway.cli.credentials.write import rotate, set_credential

credentials = group(
    "credentials",
    "Keep, rotate and remove outbound credentials. No command ever shows a value.",
    'printf %s "$OPENAI_API_KEY" | gateway credentials set openai --type api_key',
    *(set_credential, list_credentials, show, rotate, delete, rewrap),
)
