"""How many tool programs run at once in this process."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.domain.errors import Code, Denied
from gateway.log import log

# Makes room by ending an idle program; returns False if there is none.
MakeRoom = Callable[[], Awaitable[bool]]


class ProgramSlots:
    """`most` slots, each taken by one program from before it starts until it is gone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._free = asyncio.Event()
        self._free.set()
        self.make_room: MakeRoom = _no_room

    async def acquire(self) -> None:
        """Take a slot; Denied(busy) if every slot is taken by a program in use."""
        while self._taken >= self._most:
            if not await self.make_room():
                log.warning("tool_places_taken", most=self._most)
                raise Denied(
                    Code.BUSY, "Too many tools are running. Try again in a second.", retry_after=1
                )
        self._taken += 1
        self._free.clear()

    def release(self) -> None:
        self._taken -= 1
        if not self._taken:
            self._free.set()

    async def all_free(self) -> None:
        """Wait until every program is gone, including those whose callers have left."""
        await self._free.wait()


async def _no_room() -> bool:
    return False
