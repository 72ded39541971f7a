"""Options of `serve` that limit what a caller's connection may cost."""

from collections.abc import Callable
from functools import partial

from gateway.cli.options import grouped, read_as, read_duration, setting
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

listener_options = grouped(
    ListenerLimits,
    "limits",
    _time(
        "--head-timeout",
        "head",
        default="10s",
        help="How long a new connection may stay silent, and how long a request head may take.",
    ),
    _time(
        "--body-timeout",
        "body_idle",
        default="30s",
        help="How long a request body may pause.",
    ),
    _time("--keep-alive", default="75s", help="How long a connection may idle between requests."),
    _time(
        "--send-timeout",
        "send_idle",
        default="60s",
        help="How long a caller may read nothing of its answer.",
    ),
    _size("--max-url", "max_line", default="8190", help="The longest request target; then 414."),
    _size("--max-header", default="8190", help="The longest value of a header; then 431."),
    _size(
        "--body-rate",
        default="16",
        help="The least average rate of a request body, in bytes a second; slower is 408.",
    ),
    _size("--max-message", default="16MiB", help="The largest WebSocket message, either way."),
    _size(
        "--max-held",
        default="512MiB",
        help="The memory of one process for bodies, answers and events that it has to read whole; "
        "at most half of it for one key.",
    ),
    _count("--max-headers", default="100", help="The most headers; then 431."),
    _count(
        "--max-connections",
        default="10000",
        help="The most connections of one process. Beyond it, an idle one is closed for a new one, "
        "or else the new one is closed.",
    ),
)
