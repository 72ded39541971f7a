"""What names stand for: now, or, while no name server tells, what was told last."""

import asyncio
import socket
from dataclasses import dataclass

# A name server that is slow is not waited for where it has told before.
PATIENCE = 0.5
# An address that nobody has confirmed for longer may be somebody else's by now.
BELIEVED_SECONDS = 300.0
# What a name server says of a name that is not, or no longer, there.
_NOBODY = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True)
class _Told:
    addresses: list[str]
    at: float


class Names:
    """Every question is asked anew: a name that moves is followed at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lookups: dict[str, tuple[float, asyncio.Future[list[str]]]] = {}
        self._told: dict[str, _Told] = {}

    async def find(self, host: str, seconds: float) -> list[str]:
        """OSError where nobody tells, and nobody did lately. `seconds`: for all that it takes to
        connect, of which half is left in any case where it was told before."""
        begun, lookup = self._lookup(host)
        told = self._told.get(host)
        if told is None or self._loop.time() - told.at > BELIEVED_SECONDS:
            return await asyncio.shield(lookup)
        try:
            async with asyncio.timeout_at(begun + min(PATIENCE, seconds / 2)):
                return await asyncio.shield(lookup)
        except TimeoutError:
            return told.addresses
        except socket.gaierror as problem:
            if problem.errno in _NOBODY:
                raise
            return told.addresses

    def _lookup(self, host: str) -> tuple[float, "asyncio.Future[list[str]]"]:
        """One at a time for each name, for all who ask, and since when. Few threads do them, and
        one that waits for a name server waits on when nobody does: a dead name would take them
        all."""
        if host not in self._lookups:
            lookup = self._loop.create_task(self._look_up(host))
            self._lookups[host] = self._loop.time(), lookup
            lookup.add_done_callback(lambda done: self._looked_up(host, done))
        return self._lookups[host]

    async def _look_up(self, host: str) -> list[str]:
        found = await self._loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in found))

    def _looked_up(self, host: str, done: "asyncio.Future[list[str]]") -> None:
        del self._lookups[host]
        # Nobody may be waiting any more, and a failure is no mistake then.
        problem = asyncio.CancelledError() if done.cancelled() else done.exception()
        if problem is None:
            self._told[host] = _Told(done.result(), self._loop.time())
        elif isinstance(problem, socket.gaierror) and problem.errno in _NOBODY:
            self._told.pop(host, None)
