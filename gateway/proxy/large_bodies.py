"""Large bodies: how much memory they may take at once, and a thread in which they are parsed."""

import asyncio
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from gateway.domain.errors import Code, Denied
from gateway.tasks import threads

# Shorter bodies are parsed in 20 ms at worst, on the event loop.
LARGE = 2**18
# Bytes of each request that are not counted: a streaming request has as much in its buffers. Small
# bodies have room even where others hold all that may be held.
FREE = 2**16

_NEVER = "This takes more memory than one key may have here. Send less."
_FULL = "Too much of large bodies is under way. Try again in a second."

Found = TypeVar("Found")
Given = TypeVarTuple("Given")


class LargeBodies:
    """`most`: bytes of bodies that all requests of this process may hold; those of one key may hold
    half of it, since its plan does not limit it before its bodies are read.

    There is one thread, since only one can run Python at a time: large bodies are parsed one after
    the other, keys in turn, and no other work waits for this thread.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.most_of_one = most // 2
        self._held = 0
        self._by_key: dict[str, int] = {}
        self._thread = threads(1, "large")
        self._free = asyncio.Lock()
        # One lock a key, for as long as a request of the key waits.
        self._turns = WeakValueDictionary[str, asyncio.Lock]()

    def memory_of(self, key_id: str) -> "BodyMemory":
        """Return the account of the memory that one request of this key holds."""
        return BodyMemory(self, key_id)

    def take(self, key_id: str, size: int) -> None:
        """Reserve `size` bytes, or give back as many if it is negative. Raise Denied(busy) if there
        is no room."""
        of_key = self._by_key.get(key_id, 0) + size
        if size > 0 and (self._held + size > self._most or of_key > self.most_of_one):
            raise Denied(Code.BUSY, _FULL, retry_after=1)
        self._held += size
        self._by_key[key_id] = of_key
        if not of_key:
            del self._by_key[key_id]

    async def run(
        self, key_id: str, size: int, work: Callable[[*Given], Found], *given: *Given
    ) -> Found:
        """Return `work(*given)`, run in the thread if `size`, the bytes to be parsed or searched,
        is LARGE. `key_id`: whose turn it takes; empty: not known yet."""
        if size < LARGE:
            return work(*given)
        turn = self._turns.setdefault(key_id, asyncio.Lock())
        async with turn, self._free:
            loop = asyncio.get_running_loop()
            working = loop.run_in_executor(self._thread, work, *given)
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                # The thread cannot be stopped, and holds what it was given until it is done.
                await asyncio.wait([working])
                raise

    def close(self) -> None:
        """End the thread, without waiting for the work that still runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class BodyMemory:
    """The memory that the bodies of one request take until the request has ended."""

    __slots__ = ("_key_id", "_large", "_size")

    def __init__(self, large: LargeBodies, key_id: str) -> None:
        self._large = large
        self._key_id = key_id
        self._size = 0

    def take(self, size: int) -> None:
        """Reserve as `LargeBodies.take`, beyond the FREE bytes. Raise Denied(body_too_large) if so
        much would never find room."""
        size += self._size
        if size - FREE > self._large.most_of_one:
            raise Denied(Code.BODY_TOO_LARGE, _NEVER, close=True)
        if size > FREE or self._size > FREE:
            self._large.take(self._key_id, max(size, FREE) - max(self._size, FREE))
        self._size = size

    def end(self) -> None:
        self.take(-self._size)
