"""A deadline that is moved often and reached rarely."""

import asyncio
import math
from collections.abc import Callable

from gateway.timers import Timer


class Deadline:
    """One timer for the life of a connection: moving it to a later time sets an attribute and makes
    no new timer."""

    __slots__ = ("_at", "_fires_at", "_handle", "_loop", "_on_reached")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_reached: Callable[[], None]) -> None:
        self._loop = loop
        self._on_reached = on_reached
        self._at = math.inf
        self._fires_at = math.inf
        self._handle: Timer | None = None

    def set(self, seconds: float) -> None:
        """Call `on_reached` in `seconds` from now, unless moved or cleared before."""
        self._at = self._loop.time() + seconds
        if self._at < self._fires_at:
            self._arm()

    def clear(self) -> None:
        self._at = math.inf

    def close(self) -> None:
        self._at = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._fires_at = self._at
        self._handle = Timer(self._loop, self._at, self._fire)

    def _fire(self) -> None:
        self._handle = None
        # A deadline that was moved has a timer of its own, with its own grace after a stall.
        due, self._fires_at = self._fires_at, math.inf
        if due >= self._at:
            self._at = math.inf
            self._on_reached()
        elif self._at < math.inf:
            self._arm()
