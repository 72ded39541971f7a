"""A caller's connection as its requests see it: who calls, and how long the caller may take to
send and to read."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from gateway.domain.settings import ListenerLimits
from gateway.protocol.http.head_reader import HeadReader
from gateway.protocol.http.upstream_request import Hop
from gateway.proxy.deadline import Deadline
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import Stream


class Caller(Stream, ABC):
    """`closing`: the connection ends with the current answer, or the next one if there is none.
    `go_away` tells the caller that the gateway stops; None where the protocol has no way to say so.
    `heads` reads the heads of its requests. `deadline`: until when the caller may take to send;
    `send_deadline`: to read."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: ListenerLimits, outbox: Outbox
    ) -> None:
        super().__init__(loop, outbox)
        self.closing = False
        self.heads = HeadReader()
        self.go_away: Callable[[], None] | None = None
        self.hop = Hop("")
        self.limits = limits
        self.deadline = Deadline(loop, self._on_deadline)
        self.send_deadline = Deadline(loop, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        scheme = "http" if transport.get_extra_info("ssl_object") is None else "https"
        self.hop = Hop(peername[0] if peername else "", scheme)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.deadline.close()
        self.send_deadline.close()

    async def drain_in_time(self) -> None:
        """Wait until the caller has read most of what was written. The connection is aborted after
        `send_idle` seconds."""
        self.send_deadline.set(self.limits.send_idle)
        await self.drain()
        self.send_deadline.clear()

    def close(self) -> None:
        """Close once everything written is sent; abort if that takes more than `send_idle`."""
        super().close()
        if self.transport is not None:
            self.send_deadline.set(self.limits.send_idle)

    @abstractmethod
    def take_early(self) -> bytes:
        """Return the bytes received behind the request, for the tunnel that it opened."""

    @abstractmethod
    def _on_deadline(self) -> None:
        """The caller took too long to send."""
