"""What is large: so much of it is held in memory at once, and it is read beside the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from gateway.domain.errors import Code, Denied
from gateway.tasks import threads

# What is shorter is read in 20 milliseconds at worst.
LARGE = 2**18
# Of what one request holds; one that streams has as much in its buffers. Where others hold all that
# may be held, what is small has its room.
FREE = 2**16

_NEVER = "This takes more memory than one key may have here."
_FULL = "Too much of large bodies is under way. Try again in a second."

Found = TypeVar("Found")
Given = TypeVarTuple("Given")


class Large:
    """`most`: bytes that are held whole by all requests of this process, and half of it by those of
    one key: its plan does not bind it before its bodies are read.

    There is one thread, since only one can run Python at a time: what is large takes turns with
    what is large, one of each key, and keeps no other work from its threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.most_of_one = most // 2
        self._held = 0
        self._by_key: dict[str, int] = {}
        self._thread = threads(1, "large")
        self._free = asyncio.Lock()
        # As long as somebody waits for one.
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    def holding(self, key_id: str) -> "Holding":
        """For what one request of this key will hold."""
        return Holding(self, key_id)

    def take(self, key_id: str, size: int) -> None:
        """Denied(busy) where there is no room for so much more; below zero, it is given back."""
        of_key = self._by_key.get(key_id, 0) + size
        if size > 0 and (self._held + size > self._most or of_key > self.most_of_one):
            raise Denied(Code.BUSY, _FULL, retry_after=1)
        self._held += size
        self._by_key[key_id] = of_key
        if not of_key:
            del self._by_key[key_id]

    async def do(
        self, key_id: str, size: int, work: Callable[[*Given], Found], *given: *Given
    ) -> Found:
        """`work(*given)`, or what it raises. `size`: of what is read or searched, in bytes.
        `key_id`: whose it is; empty: not known yet."""
        if size < LARGE:
            return work(*given)
        turn = self._turns.setdefault(key_id, asyncio.Lock())
        async with turn, self._free:
            loop = asyncio.get_running_loop()
            working = loop.run_in_executor(self._thread, work, *given)
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                # The thread cannot be told: until it is done, what it was given is held.
                await asyncio.wait([working])
                raise

    def close(self) -> None:
        """Nobody waits for what is still done."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Holding:
    """What one request holds, until it has ended."""

    __slots__ = ("_key_id", "_large", "_size")

    def __init__(self, large: Large, key_id: str) -> None:
        self._large = large
        self._key_id = key_id
        self._size = 0

    def take(self, size: int) -> None:
        """As `Large.take`, beyond what is free; Denied(body_too_large) where it would find no room
        at any time."""
        size += self._size
        if size - FREE > self._large.most_of_one:
            raise Denied(Code.BODY_TOO_LARGE, _NEVER, close=True)
        if size > FREE or self._size > FREE:
            self._large.take(self._key_id, max(size, FREE) - max(self._size, FREE))
        self._size = size

    def end(self) -> None:
        self.take(-self._size)
