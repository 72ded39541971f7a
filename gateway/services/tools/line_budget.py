"""A limit on how many lines of one program are logged: further lines are counted."""

import asyncio

from gateway.log import log

MOST_LINES = 100
WINDOW_SECONDS = 60.0


class LineBudget:
    """Allows MOST_LINES a minute of the server `tool`; `event` logs how many more there were."""

    def __init__(self, event: str, tool: str) -> None:
        self._event = event
        self._tool = tool
        self._lines = 0
        self._window_ends = 0.0

    def allow(self, lines: int) -> int:
        """Return how many of this many lines may be logged."""
        now = asyncio.get_running_loop().time()
        if now >= self._window_ends:
            self.end()
            self._lines, self._window_ends = 0, now + WINDOW_SECONDS
        left = max(0, MOST_LINES - self._lines)
        self._lines += lines
        return min(lines, left)

    def end(self) -> None:
        """Log the rest, because no more lines follow."""
        if self._lines > MOST_LINES:
            log.warning(self._event, tool=self._tool, lines=self._lines - MOST_LINES)
            self._lines = 0
