"""Small writes of one turn of the event loop, made together at its end.

A write to a local socket wakes whoever waits for it, and on a machine that is not busy elsewhere
the waking costs more than the write. One after the other they wake him once: with 32 callers at a
time that took a quarter off a request.
"""

import asyncio

# So much waits at most: nothing large waits in memory, and whoever reads nothing is noticed.
MOST = 32_768


class Outbox:
    """Shared by all connections of a process; each one's bytes go out in the order added."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.WriteTransport, bytes | memoryview]] = []
        self._size = 0

    def add(self, transport: asyncio.WriteTransport, data: bytes | memoryview) -> None:
        """Write `data` to `transport` before this turn ends, in order."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))
        self._size += len(data)
        if self._size > MOST:
            self.flush()

    def flush(self) -> None:
        """Write what waits now: before anything else is done to one of the connections."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        for transport, data in waiting:
            if transport.is_closing():
                continue
            try:
                transport.write(data)
            except (OSError, RuntimeError):
                # What is wrong with one must not lose what the others are owed.
                transport.abort()
