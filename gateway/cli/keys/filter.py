"""The filters of `list` and `export`."""

import click

from gateway.cli.options import grouped, read_as, read_duration
from gateway.domain.keys import scopes
from gateway.domain.keys.scopes import Scope
from gateway.domain.keys.views import State
from gateway.domain.units import duration
from gateway.services.keys.find import KeyFilter
from gateway.store.key_reader import LAST_USE_SECONDS


def _scope(text: str) -> Scope:
    scope = scopes.parse(text)
    if scope is None:
        raise ValueError(f"{text!r} is not a scope such as 'agents/support:chat'")
    return scope


def _unused(text: str) -> float:
    seconds = duration(text)
    if seconds > LAST_USE_SECONDS:
        raise ValueError("at most 400d, because Redis forgets older uses of a key")
    return seconds


filter_options = grouped(
    KeyFilter,
    "wanted",
    click.option("--consumer", metavar="NAME", help="Only keys of this consumer."),
    click.option(
        "--status",
        "state",
        type=click.Choice([state.value for state in State]),
        help="Only keys in this state.",
    ),
    click.option(
        "--scope",
        metavar="SCOPE",
        callback=read_as(_scope),
        help="Only keys whose scopes grant this one.",
    ),
    click.option(
        "--expiring-within",
        metavar="TIME",
        callback=read_duration,
        help="Only keys that expire within this time, such as 7d.",
    ),
    click.option(
        "--unused-for",
        metavar="TIME",
        callback=read_as(_unused),
        help="Only keys that were not used for this time, such as 90d.",
    ),
)
