"""The lag of the event loop, by which every caller is delayed."""

import asyncio
import time
from collections.abc import Callable

# Often enough to notice a call that blocks for long, seldom enough to cost an idle gateway nothing.
BEAT_SECONDS = 0.25


async def watch_loop(observe: Callable[[float], None]) -> None:
    """Report by how many seconds each beat is late. Never ends by itself."""
    while True:
        due = time.monotonic() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        observe(max(0.0, time.monotonic() - due))
