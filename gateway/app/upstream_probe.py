"""Whether an upstream can be connected to, tested with the same dialer that calls use."""

import asyncio
import ssl

from gateway.domain.errors import Denied, OperationError
from gateway.domain.policies.snapshot import Upstream
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.dial import Dialer
from gateway.proxy.upstream.reasons import reason_of
from gateway.services.diagnosis.upstreams import Unreached

CONNECT_SECONDS = 5.0
# In TLS 1.3 a client learns only after the handshake that its certificate was refused.
REFUSAL_SECONDS = 0.3


class UpstreamProbe:
    """Connects without sending any part of a request: no head, no credential."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(self._loop)
        self._outbox = Outbox(self._loop)

    async def __call__(self, upstream: Upstream) -> Unreached | None:
        gone = asyncio.Event()

        def make() -> UpstreamConnection:
            return UpstreamConnection(self._loop, [], lambda _: gone.set(), self._outbox)

        try:
            connection = await self._dialer.dial(upstream, CONNECT_SECONDS, make)
        except Denied as denied:
            return _why(denied.__cause__)
        try:
            if upstream.scheme == "https" and await _ended(gone):
                return Unreached("it ended the connection after the handshake", trust=True)
            connection.close()
            await _ended(gone)
        finally:
            connection.abort()
        return None


async def _ended(gone: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(REFUSAL_SECONDS):
            await gone.wait()
    except TimeoutError:
        return False
    return True


def _why(problem: BaseException | None) -> Unreached:
    return Unreached(reason_of(problem), trust=isinstance(problem, (ssl.SSLError, OperationError)))
