"""How the process logs: one event a line on stderr, never with a value that a caller sent."""

import json
import logging
import sys
from contextlib import suppress
from typing import Any

import orjson
import structlog

from gateway.cli.output import in_colour
from gateway.services.telemetry.log_level import log_from

FORMATS = ("auto", "json", "text")


def configure(log_format: str, level: str) -> None:
    """Set up logging. `auto`: text on a terminal, JSON elsewhere. Libraries log warnings only."""
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
        # A line is one write, because several workers share this stderr.
        logger_factory=_Lines,
    )
    log_from(level)
    # aiohttp's server logger repeats the bytes it could not parse, keys included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


class _Lines:
    """Writes lines to stderr, and drops those that cannot be written (full disk, closed pipe): the
    request or the start of a worker that logs them must go on."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str) -> None:
        with suppress(OSError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = msg


def _dumps(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # Records and paths may hold surrogate escapes, which orjson refuses.
        return json.dumps(event, default=str)
