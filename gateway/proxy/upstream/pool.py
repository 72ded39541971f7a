"""The pool of idle connections to upstreams."""

import asyncio
from collections import defaultdict
from random import uniform

from gateway.domain.errors import Denied
from gateway.domain.policies.snapshot import Upstream
from gateway.log import Seldom, log
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.dial import Dialer
from gateway.proxy.upstream.reasons import reason_of

# Moved names, new replicas and renewed certificates take effect on new connections alone, and under
# steady traffic none would ever be made. Lifetimes are random up to this: connections made in one
# rush must not all be replaced in another.
LIFE_SECONDS = 60.0
# Servers close idle connections after 5 s (uvicorn, node), 2 s (gunicorn), some after 1 s. A
# request that must not be sent twice takes none that has been idle for longer than this: the server
# might close it meanwhile. Over TLS a new connection costs round trips, and providers keep theirs
# for a minute.
FRESH_SECONDS = {"http": 0.75, "https": 3.0}
MAX_IDLE = 256
# How often the log says that an upstream cannot be reached.
SAID_AGAIN_SECONDS = 10.0


class UpstreamPool:
    """One pool for all upstreams of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self._loop = loop
        self._dialer = Dialer(loop)
        self._idle: defaultdict[Upstream, list[UpstreamConnection]] = defaultdict(list)
        self._outbox = outbox
        self._open: set[UpstreamConnection] = set()
        self._lately_away = defaultdict[Upstream, Seldom](
            lambda: Seldom(loop.time, SAID_AGAIN_SECONDS)
        )

    def take(self, upstream: Upstream, *, repeatable: bool) -> UpstreamConnection | None:
        """Return an idle connection to `upstream` that can be trusted to be alive, if there is
        one. `repeatable`: the request may be sent again."""
        idle, fresh = self._idle[upstream], FRESH_SECONDS[upstream.scheme]
        while idle:
            connection = idle.pop()
            if connection.usable and (
                repeatable or self._loop.time() - connection.idle_since < fresh
            ):
                return connection
            connection.close()
        return None

    async def connect(self, upstream: Upstream, seconds: float) -> UpstreamConnection:
        """Return a new connection; raise Denied(upstream_unreachable) after `seconds`."""
        home = self._idle[upstream]

        def make() -> UpstreamConnection:
            return UpstreamConnection(self._loop, home, self._open.discard, self._outbox)

        try:
            connection = await self._dialer.dial(upstream, seconds, make)
        except Denied as denied:
            self.log_unreachable(upstream, denied.__cause__)
            raise
        connection.retires = self._loop.time() + LIFE_SECONDS * uniform(0.5, 1)  # noqa: S311
        self._open.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection that can carry another request."""
        left = connection.retires - self._loop.time()
        if left > 0 and len(connection.home) < MAX_IDLE:
            connection.keep_idle(left)
        else:
            connection.close()

    def log_unreachable(self, upstream: Upstream, cause: BaseException | None) -> None:
        """Log why an upstream cannot be reached: the caller is not told."""
        if self._lately_away[upstream].due():
            log.warning("upstream_unreachable", upstream=str(upstream), reason=reason_of(cause))

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()
