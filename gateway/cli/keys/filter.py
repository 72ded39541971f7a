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
from gateway.store.key_reader import LAST_USE_SECONDS


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--consumer`, `--status`, `--scope`, `--expiring-within`, `--unused-for`; the command
    receives them as `wanted: KeyFilter`."""

    @wraps(command)
    def with_filter(
        *args: Any,
        consumer: str | None,
        status: str | None,
        scope: str | None,
        expiring_within: str | None,
        unused_for: str | None,
        **rest: Any,
    ) -> Any:
        ending = _seconds("--expiring-within", expiring_within)
        wanted = KeyFilter(consumer, status, _scope(scope), ending, _unused(unused_for))
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
        click.option(
            "--unused-for", metavar="TIME", help="Only keys that nobody has used for 90d."
        ),
    )


def _scope(text: str | None) -> Scope | None:
    if text is None:
        return None
    scope = scopes.parse(text)
    if scope is None:
        raise UsageError(f"--scope: {text!r} is not a scope such as 'agents/support:chat'.")
    return scope


def _seconds(option: str, text: str | None) -> float | None:
    return None if text is None else parsed(option, duration, text)


def _unused(text: str | None) -> float | None:
    seconds = _seconds("--unused-for", text)
    if seconds is not None and seconds > LAST_USE_SECONDS:
        raise UsageError(
            "--unused-for is at most 400d: for so long Redis keeps when a key was used."
        )
    return seconds
