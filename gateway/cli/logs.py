"""How the process logs: one event a line, on stderr, never a value that a caller sent."""

import logging
import sys
from typing import Any

import structlog

from gateway.cli.output import in_colour
from gateway.protocol import json_line
from gateway.services.telemetry.log_level import log_from

FORMATS = ("auto", "json", "text")


def configure(log_format: str, level: str) -> None:
    """`auto` is text on a terminal and JSON elsewhere. Libraries below warning stay silent."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=in_colour(sys.stderr))
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        # One write a line: several workers share this stderr.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    log_from(level)
    # aiohttp's server logger repeats the bytes it could not parse, keys included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


def _dumps(event: Any, **_: Any) -> str:
    return json_line.encode(event).decode()
