"""Connections to agents, kept for the next request."""

import asyncio
from collections import defaultdict

from gateway.domain.facts import fact
from gateway.domain.policies import Upstream
from gateway.proxy.dial import Dialer
from gateway.proxy.upstream import UpstreamConnection

IDLE_SECONDS = 60.0
# Servers drop idle connections after 5 s and more (uvicorn, node). A request that must not be
# sent twice takes no connection that may be dropped while the request is on its way.
FRESH_SECONDS = 3.0
MAX_IDLE = 256


@fact
class Lease:
    """A connection for one exchange. `reused`: it has carried another one before."""

    connection: UpstreamConnection
    reused: bool


class UpstreamPool:
    """One pool for all agents of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dialer = Dialer(loop)
        self._idle: defaultdict[Upstream, list[UpstreamConnection]] = defaultdict(list)
        self._upstreams: dict[UpstreamConnection, Upstream] = {}

    async def acquire(self, upstream: Upstream, seconds: float, *, repeatable: bool) -> Lease:
        """A connection to `upstream`; Denied(upstream_unreachable) after so many seconds."""
        idle = self._idle.get(upstream)
        while idle:
            connection = idle.pop()
            age = self._loop.time() - connection.idle_since
            if connection.usable and (repeatable or age < FRESH_SECONDS):
                connection.deadline.clear()
                return Lease(connection, reused=True)
            connection.close()
        return Lease(await self.connect(upstream, seconds), reused=False)

    async def connect(self, upstream: Upstream, seconds: float) -> UpstreamConnection:
        """A new connection."""
        connection = await self._dialer.dial(
            upstream, seconds, lambda: UpstreamConnection(self._loop, self._forget)
        )
        self._upstreams[connection] = upstream
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Give back after an exchange; only what can be trusted to carry another one."""
        upstream = self._upstreams.get(connection)
        if upstream is None or len(idle := self._idle[upstream]) >= MAX_IDLE:
            connection.close()
            return
        connection.keep_idle(IDLE_SECONDS)
        idle.append(connection)

    def close(self) -> None:
        for connection in list(self._upstreams):
            connection.close()

    def _forget(self, connection: UpstreamConnection) -> None:
        upstream = self._upstreams.pop(connection, None)
        if upstream is None:
            return
        idle = self._idle.get(upstream, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(upstream, None)
