"""How much of what one program says goes into the log: a flood of it is counted."""

import asyncio

from gateway.log import log

MOST_LINES = 100
WINDOW_SECONDS = 60.0


class LineBudget:
    """MOST_LINES a minute; how many were more is logged as `event`, for the server `tool`."""

    def __init__(self, event: str, tool: str) -> None:
        self._event = event
        self._tool = tool
        self._lines = 0
        self._window_ends = 0.0

    def allow(self, lines: int) -> int:
        """How many of so many lines may be logged."""
        now = asyncio.get_running_loop().time()
        if now >= self._window_ends:
            self.end()
            self._lines, self._window_ends = 0, now + WINDOW_SECONDS
        left = max(0, MOST_LINES - self._lines)
        self._lines += lines
        return min(lines, left)

    def end(self) -> None:
        """Nothing follows."""
        if self._lines > MOST_LINES:
            log.warning(self._event, tool=self._tool, lines=self._lines - MOST_LINES)
            self._lines = 0
