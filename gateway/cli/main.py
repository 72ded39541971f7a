"""The root command, and the one place that turns errors into exit codes."""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn, cast

import click
from click.shell_completion import CompletionItem

from gateway import __version__
from gateway.cli.options import taking_all
from gateway.cli.privacy import disable_tls_key_log
from gateway.cli.streams import prepare_standard_streams
from gateway.domain.errors import AuditError, GatewayError, UnreachableError, UsageError
from gateway.domain.keys.key import masked
from gateway.domain.nearest import nearest

# By name: where in this package the command is, and its line of help. Imported on use only, so that
# `gateway --help` does not wait for aiohttp and pydantic.
COMMANDS = {
    "serve": ("serve:serve", "Run the gateway, until SIGTERM or Ctrl-C."),
    "demo": ("demo:demo", "Try it out: a gateway, two small agents and a key for them."),
    "keys": ("keys.group:keys", "Create, find, change, revoke and move the keys of callers."),
    "credentials": (
        "credentials.group:credentials",
        "Keep, rotate and remove outbound credentials.",
    ),
    "users": ("users:users", "Let users enter credentials of their own."),
    "run": ("run:run", "Run a program with credentials from the gateway."),
    "policy": ("policies.group:policy", "Check, show, compare and explain the policies."),
    "audit": ("audit.group:audit", "Show the audit records, and verify that none was changed."),
    "redis": ("redis:redis", "Send one raw command to the store in use."),
    "doctor": ("doctor:doctor", "Check everything that a gateway depends on."),
    "version": ("version:version", "Print the version."),
}

EPILOG = "\b\nExamples:\n  gateway demo\n  gateway keys create --consumer sales --scope 'agents/*'"


class LazyGroup(click.Group):
    """Imports a command of COMMANDS when it is called, and suggests a name for one misspelled."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"gateway.cli.{module}"), attribute)
        return taking_all(cast(click.Command, found))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [CompletionItem(name, help=about) for name, (_, about) in COMMANDS.items()]
        items = [item for item in items if item.value.startswith(incomplete)]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            near = nearest(name, COMMANDS)
            hint = f" Did you mean {near!r}?" if near else " See 'gateway --help'."
            ctx.fail(f"There is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def root() -> None:
    """The credential gateway for AI agents."""


def run() -> NoReturn:
    """Run the command line. Exit 0: done, 1: refused or failed, 2: wrong usage."""
    disable_tls_key_log()
    prepare_standard_streams()
    try:
        root.main(prog_name="gateway", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        _exit("Stopped.", 130)
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        _leave(problem.exit_code)
    except click.ClickException as problem:
        # click may spread a message over several lines, and often leaves out its full stop.
        sentence = " ".join(problem.format_message().split())
        is_whole = sentence.endswith((".", "?", "?)"))
        _exit(sentence if is_whole else f"{sentence}.", problem.exit_code)
    except UsageError as problem:
        _exit(str(problem), 2)
    except GatewayError as problem:
        _exit(f"{problem}{_where_to_look(problem)}", 1)
    except BrokenPipeError:
        # The reader closed the pipe, as in `gateway keys list | head`.
        _leave(1)
    except OSError as problem:
        _exit(f"{problem.strerror or problem}.", 1)
    except KeyboardInterrupt:
        _exit("Stopped.", 130)
    _leave(0)


def _where_to_look(problem: GatewayError) -> str:
    """Return what to check where Redis did not answer; else empty."""
    reason = problem.__cause__ if isinstance(problem, AuditError) else problem
    if not isinstance(reason, UnreachableError):
        return ""
    stop = "" if str(problem).endswith(".") else "."
    return f"{stop} Check {_redis_settings()}, and that Redis runs."


def _redis_settings() -> str:
    """Return the settings that say where Redis is."""
    if os.environ.get("GATEWAY_VAULT_REDIS_URL"):
        return "--redis, GATEWAY_REDIS_URL and GATEWAY_VAULT_REDIS_URL"
    return "--redis or GATEWAY_REDIS_URL"


def _exit(sentence: str, code: int) -> NoReturn:
    # Without stderr, the exit code still tells.
    with suppress(OSError):
        click.echo(f"gateway: {masked(sentence)}", err=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exit with `code`, even if stdout can no longer be written to."""
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes again at exit; its failure would replace the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
