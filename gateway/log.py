"""What this process has to tell: events with fields, written as `cli/logs.py` says.

structlog is imported at the first of them: with all that it imports it takes a seventh of the time
of a command, and few commands have anything to tell.
"""

import sys
from typing import Any


class Log:
    """`event`: a word or two, joined by `_`. No field holds what a caller sent, nor a secret."""

    def debug(self, event: str, **fields: object) -> None:
        _logger().debug(event, **fields)

    def info(self, event: str, **fields: object) -> None:
        _logger().info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        _logger().warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        _logger().error(event, **fields)


def _logger() -> Any:
    import structlog

    if structlog.is_configured():
        return structlog.get_logger()
    # Of a command: what it has on stdout is for whoever reads that.
    return structlog.wrap_logger(structlog.WriteLogger(sys.stderr))


log = Log()
