"""A caller's connection as its requests see it: who calls, what it is given, and how long it may
take to take it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from gateway.domain.settings import ListenerLimits
from gateway.protocol.http.upstream_request import Hop
from gateway.proxy.deadline import Deadline
from gateway.proxy.outbox import Outbox
from gateway.proxy.stream import Stream


class Caller(Stream, ABC):
    """`closing`: it ends with the answer that is being given, or comes next. `go_away` tells the
    caller that the gateway goes away, where that can be said. `deadline`: until when the caller is
    waited for."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: ListenerLimits, outbox: Outbox
    ) -> None:
        super().__init__(loop, outbox)
        self.closing = False
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

    async def until_taken(self) -> None:
        """Wait until the caller has taken most of what was written; it is given up in time."""
        self.send_deadline.set(self.limits.send_idle)
        await self.drain()
        self.send_deadline.clear()

    def close(self) -> None:
        """Close once everything written is sent; whoever does not take it is given up in time."""
        super().close()
        if self.transport is not None:
            self.send_deadline.set(self.limits.send_idle)

    @abstractmethod
    def take_early(self) -> bytes:
        """What was received after the request's end, for the tunnel that it opened."""

    @abstractmethod
    def _on_deadline(self) -> None:
        """The caller was waited for long enough."""
