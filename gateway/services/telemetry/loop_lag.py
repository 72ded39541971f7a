"""How late the event loop comes to what is due: whoever it serves waits as long."""

import asyncio
import time
from collections.abc import Callable

# Often enough that a call which blocks for long is met, rarely enough to cost an idle gateway none.
BEAT_SECONDS = 0.25


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Tell by how many seconds each beat comes late. Never ends by itself."""
    while True:
        due = time.monotonic() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        observe(max(0.0, time.monotonic() - due))
