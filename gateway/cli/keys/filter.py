"""Which keys `list` and `export` are about."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from gateway.cli.options import add_options, parsed
from gateway.domain.errors import UsageError
from gateway.domain.keys import scopes
from gateway.domain.keys.scopes import Scope
from gateway.domain.keys.views import State
from gateway.domain.units import duration
from gateway.services.keys.find import KeyFilter


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--consumer`, `--status`, `--scope`, `--expiring-within`; the command receives them as
    `wanted: KeyFilter`."""

    @wraps(command)
    def with_filter(
        *args: Any,
        consumer: str | None,
        status: str | None,
        scope: str | None,
        expiring_within: str | None,
        **rest: Any,
    ) -> Any:
        wanted = KeyFilter(consumer, status, _scope(scope), _seconds(expiring_within))
        return command(*args, wanted=wanted, **rest)

    return add_options(
        with_filter,
        click.option("--consumer", metavar="NAME", help="Only keys of this consumer."),
        click.option(
            "--status",
            type=click.Choice([state.value for state in State]),
            help="Only keys that a request would find so.",
        ),
        click.option("--scope", metavar="SCOPE", help="Only keys whose scopes grant this one."),
        click.option("--expiring-within", metavar="TIME", help="Only keys that end within 7d."),
    )


def _scope(text: str | None) -> Scope | None:
    if text is None:
        return None
    scope = scopes.parse(text)
    if scope is None:
        raise UsageError(f"--scope: {text!r} is not a scope such as 'agents/support:chat'.")
    return scope


def _seconds(text: str | None) -> float | None:
    return None if text is None else parsed("--expiring-within", duration, text)
