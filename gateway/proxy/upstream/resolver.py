"""Look up host names; while name servers do not answer, use the last known addresses."""

import asyncio
import socket
from dataclasses import dataclass

# How long a name server is waited for if the name was resolved before.
PATIENCE = 0.5
# An address that was not confirmed for longer may belong to somebody else by now.
BELIEVED_SECONDS = 300.0
# A name server's answer for a name that does not exist, or no longer.
_NOBODY = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True)
class _Resolved:
    addresses: list[str]
    at: float


class Resolver:
    """Looks a name up for every new connection, so that a name that moves is followed at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lookups: dict[str, tuple[float, asyncio.Future[list[str]]]] = {}
        self._resolved: dict[str, _Resolved] = {}

    async def resolve(self, host: str, seconds: float) -> list[str]:
        """Return the addresses of `host`; raise OSError if they cannot be looked up and are not
        known from before. `seconds`: the whole time to connect; a lookup takes at most half of it
        if addresses are known."""
        begun, lookup = self._lookup(host)
        told = self._resolved.get(host)
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
        """Return when the lookup of `host` began, and the lookup itself. All who ask share one:
        lookups run in few threads and cannot be cancelled, so that a name whose servers are dead
        would take them all."""
        if host not in self._lookups:
            lookup = self._loop.create_task(self._getaddrinfo(host))
            self._lookups[host] = self._loop.time(), lookup
            lookup.add_done_callback(lambda done: self._on_lookup_done(host, done))
        return self._lookups[host]

    async def _getaddrinfo(self, host: str) -> list[str]:
        found = await self._loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in found))

    def _on_lookup_done(self, host: str, done: "asyncio.Future[list[str]]") -> None:
        del self._lookups[host]
        # The exception is retrieved here, because nobody may be waiting any more.
        problem = asyncio.CancelledError() if done.cancelled() else done.exception()
        if problem is None:
            self._resolved[host] = _Resolved(done.result(), self._loop.time())
        elif isinstance(problem, socket.gaierror) and problem.errno in _NOBODY:
            self._resolved.pop(host, None)
