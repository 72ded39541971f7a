"""`gateway run -- CMD`: run any program with credentials, and carry rotations into it."""

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.command import command
from gateway.cli.options import read_as, read_duration, setting
from gateway.cli.output import note
from gateway.cli.privacy import keep_private
from gateway.cli.secret_settings import read_secret
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.policies.references import Reference, parse
from gateway.domain.settings import LISTEN
from gateway.domain.units import span

if TYPE_CHECKING:
    from gateway.cli.child import Bindings
    from gateway.client import Credentials

RETRY_SECONDS = 0.5
# After this long at the start, the command says what it waits for.
QUIET_SECONDS = 3.0


@command(
    "gateway run --env OPENAI_API_KEY=openai_key -- python agent.py",
    "gateway run --file crm.password=/run/crm.pw --on-change SIGHUP -- ./server",
    notes="The agent's key is read from GATEWAY_KEY_FILE or GATEWAY_KEY. Its scopes name the "
    "credentials:\n\n\b\n"
    "  gateway keys create --consumer agent --scope gateway/credentials:openai_key",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="VAR=NAME[.FIELD]",
    help="Put a credential into a variable; repeatable.",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="NAME[.FIELD]=PATH",
    help="Put a credential into a file, mode 0600; repeatable.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace files that exist already, such as those of a killed run, and remove them at the "
    "end. Without it they are refused.",
)
@click.option(
    "--on-change",
    type=click.Choice(["restart", "SIGHUP", "ignore"]),
    default="restart",
    show_default=True,
    help="What happens to the program after a rotation. Files are replaced in any case.",
)
@click.option(
    "--wait",
    default="60s",
    callback=read_as(span),
    show_default=True,
    metavar="TIME",
    help="How long to retry at the start before exit 1; 0: not at all.",
)
@click.option(
    "--drain",
    default="30s",
    callback=read_duration,
    show_default=True,
    metavar="TIME",
    help="How long the program may take to end, for a restart or after TERM or INT, before it is "
    "killed. A second TERM or INT kills it at once.",
)
@setting("--url", default=f"http://{LISTEN}", help="The gateway's data listener.")
@click.option(
    "--poll",
    default="15s",
    envvar="GATEWAY_CREDENTIAL_POLL",
    callback=read_duration,
    show_default=True,
    metavar="TIME",
    help="How often to check for changes, at the latest.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def run(
    variables: tuple[str, ...],
    files: tuple[str, ...],
    replace: bool,
    on_change: str,
    wait: float,
    drain: float,
    url: str,
    poll: float,
    command: tuple[str, ...],
) -> None:
    """Run a program with credentials from the gateway, and carry rotations into it.

    The exit code is the program's. Signals are passed on to it.
    """
    keep_private()
    bindings = _bindings(variables, files, replace=replace)
    if on_change == "SIGHUP" and not bindings.files:
        note("Variables of a running program cannot be changed: use SIGHUP together with --file.")
    sys.exit(asyncio.run(_run(command, bindings, on_change, drain, url, poll, wait)))


async def _run(
    command: tuple[str, ...],
    bindings: "Bindings",
    on_change: str,
    drain: float,
    url: str,
    poll: float,
    wait: float,
) -> int:
    # Imported late: `gateway run --help` must not pay for it.
    from gateway.cli.child import Child
    from gateway.client import Credentials, SourceError
    from gateway.client.credentials import checked_key

    library = _silent_library()
    child = Child(command, bindings, on_change, drain, note)
    ends = time.monotonic() + wait
    try:
        checked_key(_key())
        credentials = Credentials(
            url, _key, bindings.names, poll=poll, wait=wait, on_change=child.changed
        )
        waiting = _say_later(credentials, wait)
        async with credentials:
            await _all_there(credentials, ends)
            waiting.cancel()
            library.addHandler(_Notes())
            return await child.run(credentials)
    except SourceError as problem:
        raise OperationError(str(problem)) from None
    except ValueError as problem:
        raise UsageError(f"{problem}.") from None


def _silent_library() -> logging.Logger:
    """Return the library's logger. Until the program runs, a failure is reported in one sentence
    and not in log lines."""
    library = logging.getLogger("gateway.client")
    library.addHandler(logging.NullHandler())
    library.propagate = False
    return library


def _say_later(credentials: "Credentials", wait: float) -> asyncio.TimerHandle:
    """Print what is waited for, unless the handle is cancelled within a few seconds."""

    def say() -> None:
        note(f"Waiting up to {wait:g} s. {_lacking(credentials)}")

    return asyncio.get_running_loop().call_later(QUIET_SECONDS, say)


class _Notes(logging.Handler):
    """Prints the library's warnings as notes of this command."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            note(record.getMessage())


async def _all_there(credentials: "Credentials", ends: float) -> None:
    """Wait until every credential is available, or until `ends`; then the child reports which is
    not."""
    while time.monotonic() < ends and _lacking(credentials):
        await credentials.changed(min(RETRY_SECONDS, max(0.0, ends - time.monotonic())))


def _lacking(credentials: "Credentials") -> str:
    """Return why the first unavailable credential is so; empty if all are available."""
    from gateway.client import UnavailableError

    try:
        for name in credentials:
            credentials[name]
    except UnavailableError as problem:
        return str(problem)
    return ""


def _bindings(variables: tuple[str, ...], files: tuple[str, ...], *, replace: bool) -> "Bindings":
    from gateway.cli.child import Bindings

    if not variables and not files:
        raise UsageError("Name what the program is to get: --env VAR=NAME or --file NAME=PATH.")
    by_variable: dict[str, Reference] = {}
    for item in variables:
        name, mark, reference = item.partition("=")
        if not (name.isidentifier() and name.isascii() and mark):
            raise UsageError("--env is written VAR=NAME or VAR=NAME.FIELD.")
        if name in by_variable:
            raise UsageError(f"--env names {name} twice: a variable holds one credential.")
        by_variable[name] = _reference("--env", reference)
    by_file: dict[Path, Reference] = {}
    for item in files:
        reference, mark, path = item.partition("=")
        if not (mark and path):
            raise UsageError("--file is written NAME=PATH or NAME.FIELD=PATH.")
        if Path(path) in by_file:
            raise UsageError(f"--file names {path} twice: a file holds one credential.")
        by_file[Path(path)] = _reference("--file", reference)
    return Bindings(by_variable, by_file, replace)


def _reference(option: str, text: str) -> Reference:
    try:
        (found,) = parse(f"${{credentials.{text}}}").references
    except ValueError:
        # The text is not repeated: somebody may have put the value itself there.
        raise UsageError(
            f"{option} names a credential, such as openai_key or crm.password."
        ) from None
    return found


def _key() -> str:
    _, text = read_secret("GATEWAY_KEY") or ("", "")
    if not text.strip():
        raise UsageError("There is no key: set GATEWAY_KEY_FILE or GATEWAY_KEY.")
    return text.strip()
