"""What one caller's connection may cost: options of `serve`, each also in the environment."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from gateway.cli.options import read_duration
from gateway.domain.settings import ListenerLimits
from gateway.domain.units import size

Callback = Callable[[click.Context, click.Parameter, str], object]


@dataclass(frozen=True, slots=True)
class _Option:
    """`field` of the limits; `variable` in the environment."""

    field: str
    flag: str
    variable: str
    default: str
    help: str


_TIMES = (
    _Option(
        "head",
        "--head-timeout",
        "GATEWAY_HEAD_TIMEOUT",
        "10s",
        "For the silence before a request, and for its whole head.",
    ),
    _Option(
        "body_idle",
        "--body-timeout",
        "GATEWAY_BODY_TIMEOUT",
        "30s",
        "Between two pieces of a request's body.",
    ),
    _Option(
        "keep_alive",
        "--keep-alive",
        "GATEWAY_KEEP_ALIVE",
        "75s",
        "How long a connection waits for its next request.",
    ),
    _Option(
        "send_idle",
        "--send-timeout",
        "GATEWAY_SEND_TIMEOUT",
        "60s",
        "How long a caller may take nothing of its answer.",
    ),
)
_SIZES = (
    _Option(
        "max_line", "--max-url", "GATEWAY_MAX_URL", "8190", "The longest request target; then 414."
    ),
    _Option(
        "max_header",
        "--max-header",
        "GATEWAY_MAX_HEADER",
        "8190",
        "The longest header line, in bytes; then 431.",
    ),
    _Option(
        "body_rate",
        "--body-rate",
        "GATEWAY_BODY_RATE",
        "16",
        "Bytes a second that a body has to come with on the whole; slower is 408.",
    ),
    _Option(
        "max_message",
        "--max-message",
        "GATEWAY_MAX_MESSAGE",
        "16MiB",
        "The largest WebSocket message, either way.",
    ),
    _Option(
        "max_held",
        "--max-held",
        "GATEWAY_MAX_HELD",
        "512MiB",
        "What a process holds of bodies, answers and events that it reads whole; half for one key.",
    ),
)
_COUNTS = (
    _Option(
        "max_headers", "--max-headers", "GATEWAY_MAX_HEADERS", "100", "The most headers; then 431."
    ),
    _Option(
        "max_connections",
        "--max-connections",
        "GATEWAY_MAX_CONNECTIONS",
        "10000",
        "The most connections of a process: an idle one makes room, else the new one is closed.",
    ),
)


def listener_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command receives all of them as `limits: ListenerLimits`."""

    @wraps(command)
    def with_limits(*args: Any, **given: Any) -> Any:
        fields = [option.field for option in (*_TIMES, *_SIZES, *_COUNTS)]
        limits = ListenerLimits(**{field: given.pop(field) for field in fields})
        return command(*args, limits=limits, **given)

    wrapped: Callable[..., Any] = with_limits
    # What is added first is shown last.
    for options, metavar, read in (
        (_COUNTS, "N", _read_count),
        (_SIZES, "SIZE", _read_size),
        (_TIMES, "DURATION", read_duration),
    ):
        for option in reversed(options):
            wrapped = _added(wrapped, option, metavar, read)
    return wrapped


def _added(
    command: Callable[..., Any], option: _Option, metavar: str, read: Callback
) -> Callable[..., Any]:
    return click.option(
        option.flag,
        option.field,
        metavar=metavar,
        default=option.default,
        envvar=option.variable,
        callback=read,
        show_default=True,
        help=option.help,
    )(command)


def _read_size(_: click.Context, option: click.Parameter, text: str) -> int:
    try:
        found = size(text)
    except ValueError as problem:
        raise click.BadParameter(str(problem), param=option) from None
    return _at_least_one(found, option)


def _read_count(_: click.Context, option: click.Parameter, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise click.BadParameter(f"{text!r} is not a number", param=option)
    return _at_least_one(int(text), option)


def _at_least_one(found: int, option: click.Parameter) -> int:
    if found < 1:
        raise click.BadParameter("it must be at least 1", param=option)
    return found
