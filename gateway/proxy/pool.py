"""Connections to agents, kept for the next request."""

import asyncio
import ssl
from collections import defaultdict
from dataclasses import dataclass

from gateway.domain.errors import Code, Denied
from gateway.domain.policies import Upstream
from gateway.proxy.upstream import UpstreamConnection

IDLE_SECONDS = 60.0
# Servers drop idle connections after 5 s and more (uvicorn, node). A request that must not be
# sent twice takes no connection that may be dropped while the request is on its way.
FRESH_SECONDS = 3.0
MAX_IDLE = 256

Place = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection for one exchange. `reused`: it has carried another one before."""

    connection: UpstreamConnection
    reused: bool


class UpstreamPool:
    """One pool for all agents of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: defaultdict[Place, list[UpstreamConnection]] = defaultdict(list)
        self._places: dict[UpstreamConnection, Place] = {}
        self._tls: ssl.SSLContext | None = None

    async def acquire(self, upstream: Upstream, seconds: float, *, repeatable: bool) -> Lease:
        """A connection to `upstream`; Denied(upstream_unreachable) after so many seconds."""
        place = (upstream.scheme, upstream.host, upstream.port)
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()
            age = self._loop.time() - connection.idle_since
            if connection.connected and (repeatable or age < FRESH_SECONDS):
                connection.deadline.clear()
                return Lease(connection, reused=True)
            connection.close()
        return Lease(await self.connect(upstream, seconds), reused=False)

    async def connect(self, upstream: Upstream, seconds: float) -> UpstreamConnection:
        """A new connection."""
        tls = self._tls_context() if upstream.scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self._loop, self._forget),
                    upstream.host,
                    upstream.port,
                    ssl=tls,
                )
        except (OSError, TimeoutError) as problem:
            raise Denied(Code.UPSTREAM_UNREACHABLE) from problem
        self._places[connection] = (upstream.scheme, upstream.host, upstream.port)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Give back after an exchange; what cannot be trusted to carry another one is closed."""
        place = self._places.get(connection)
        if place is None or not connection.reusable or len(self._idle[place]) >= MAX_IDLE:
            connection.close()
            return
        connection.keep_idle(IDLE_SECONDS)
        self._idle[place].append(connection)

    def close(self) -> None:
        for connection in list(self._places):
            connection.close()

    def _forget(self, connection: UpstreamConnection) -> None:
        place = self._places.pop(connection, None)
        if place is None:
            return
        idle = self._idle.get(place, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(place, None)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
