"""The log of this process: events with fields, formatted as `cli/logs.py` configures.

structlog is imported at the first event: importing it takes a seventh of the time of a command, and
few commands log anything.
"""

import sys
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


def _logger() -> Any:
    import structlog

    if structlog.is_configured():
        return structlog.get_logger()
    # Commands log to stderr, because their stdout is data.
    return structlog.wrap_logger(structlog.WriteLogger(sys.stderr))


log = Log()
