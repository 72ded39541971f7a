"""Timers for what others owe this process, which do not blame them for its own stalls.

After a stall (SIGSTOP, a virtual machine or container that got no processor time) an event loop
runs its expired timers before it reads what has arrived meanwhile. An answer that came in time
would then be reported as late, and a healthy server as one that does not answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

# A server on the same machine stalls as well, and needs time to answer after it.
LONGEST_GRACE = 1.0
# Shorter than the resolution of uvloop's timers, a grace would end before the next read.
SHORTEST_GRACE = 0.001


class Timer:
    """Calls `act` at `when`, by the loop's time, and later by as much as the loop itself was late
    (up to LONGEST_GRACE): the loop has read what had arrived by then."""

    __slots__ = ("_act", "_handle", "_loop", "when")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, when: float, act: Callable[[], object]
    ) -> None:
        self._loop = loop
        self.when = when
        self._act = act
        self._handle = loop.call_at(when, self._on_due)

    def cancel(self) -> None:
        self._handle.cancel()

    def _on_due(self) -> None:
        late = self._loop.time() - self.when
        grace = min(max(late, SHORTEST_GRACE), LONGEST_GRACE)
        self._handle = self._loop.call_later(grace, self._act)


@asynccontextmanager
async def timeout_at(when: float) -> AsyncIterator[None]:
    """Like asyncio.timeout_at, with a Timer."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = Timer(loop, when, lambda: limit.reschedule(loop.time()))
        try:
            yield
        finally:
            timer.cancel()


def timeout(seconds: float | None) -> AbstractAsyncContextManager[None]:
    """Like asyncio.timeout, with a Timer."""
    if seconds is None:
        return nullcontext()
    return timeout_at(asyncio.get_running_loop().time() + seconds)
