"""What one caller's connection may cost: options of `serve`."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from typing import Any

from gateway.cli.options import add_options, read_as, read_duration, setting
from gateway.domain.settings import ListenerLimits
from gateway.domain.units import count, size


def _one_or_more(parse: Callable[[str], int]) -> Callable[[str], int]:
    def read(text: str) -> int:
        found = parse(text)
        if found < 1:
            raise ValueError("it must be at least 1")
        return found

    return read


_time = partial(setting, metavar="DURATION", callback=read_duration)
_size = partial(setting, metavar="SIZE", callback=read_as(_one_or_more(size)))
_count = partial(setting, metavar="N", callback=read_as(_one_or_more(count)))

_OPTIONS = (
    _time(
        "--head-timeout",
        "head",
        default="10s",
        help="For the silence before a request, and for its whole head.",
    ),
    _time(
        "--body-timeout",
        "body_idle",
        default="30s",
        help="Between two pieces of a request's body.",
    ),
    _time("--keep-alive", default="75s", help="How long a connection waits for its next request."),
    _time(
        "--send-timeout",
        "send_idle",
        default="60s",
        help="How long a caller may take nothing of its answer.",
    ),
    _size("--max-url", "max_line", default="8190", help="The longest request target; then 414."),
    _size("--max-header", default="8190", help="The longest value of a header; then 431."),
    _size(
        "--body-rate",
        default="16",
        help="Bytes a second that a body has to come with on the whole; slower is 408.",
    ),
    _size("--max-message", default="16MiB", help="The largest WebSocket message, either way."),
    _size(
        "--max-held",
        default="512MiB",
        help="What a process holds of bodies, answers and events that it reads whole; half for one "
        "key.",
    ),
    _count("--max-headers", default="100", help="The most headers; then 431."),
    _count(
        "--max-connections",
        default="10000",
        help="The most connections of a process: an idle one makes room, else the new one is "
        "closed.",
    ),
)


def listener_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command receives all of them as `limits: ListenerLimits`."""

    @wraps(command)
    def with_limits(*args: Any, **given: Any) -> Any:
        limits = ListenerLimits(**{one.name: given.pop(one.name) for one in fields(ListenerLimits)})
        return command(*args, limits=limits, **given)

    return add_options(with_limits, *_OPTIONS)
