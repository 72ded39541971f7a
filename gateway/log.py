"""The log of this process: events with fields, formatted as `cli/logs.py` configures.

structlog is imported at the first event: importing it takes a seventh of the time of a command, and
few commands log anything.
"""

import sys
from collections.abc import Callable
from typing import Any


class Log:
    """`event`: a short name such as `key_revoked`. No field holds a secret or a caller's input."""

    def debug(self, event: str, **fields: object) -> None:
        _logger().debug(event, **fields)

    def info(self, event: str, **fields: object) -> None:
        _logger().info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        _logger().warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        _logger().error(event, **fields)


class Seldom:
    """When to say what happens again and again: at first, and then once in `seconds` at most."""

    def __init__(self, clock: Callable[[], float], seconds: float = 1.0) -> None:
        self._clock = clock
        self._seconds = seconds
        self._quiet_until = float("-inf")
        self._count = 0

    def due(self, count: int = 1) -> int:
        """Return how many there were since it was last said, with these; 0: say nothing now."""
        self._count += count
        now = self._clock()
        if now < self._quiet_until:
            return 0
        said, self._count = self._count, 0
        self._quiet_until = now + self._seconds
        return said


def _logger() -> Any:
    import structlog

    if structlog.is_configured():
        return structlog.get_logger()
    # Commands log to stderr, because their stdout is data.
    return structlog.wrap_logger(structlog.WriteLogger(sys.stderr))


log = Log()
