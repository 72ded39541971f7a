"""What both sides of the proxy share: a transport, backpressure, and a tunnel to the other side."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable

from aiohttp.base_protocol import BaseProtocol

from gateway.proxy.outbox import Outbox

_RESET = struct.pack("ii", 1, 0)
READ_BUFFER = 2**16


class Stream(BaseProtocol):
    """A connection whose bytes go to its parser, or, once it is a tunnel, straight to `peer`.

    `outbox`: what it writes goes there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        super().__init__(loop)
        self._outbox = outbox
        self.peer: Stream | None = None
        self.lost: asyncio.Future[None] | None = None
        self._on_received: Callable[[bytes], None] = _nothing

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp's reader asks for it after every piece; where nothing was held back, nothing waits
        # in the parser either, and looking costs as much as sorting a head.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def write(self, data: bytes | memoryview) -> None:
        if self.transport is not None:
            self._outbox.add(self.transport, data)

    async def drain(self) -> None:
        """Wait until the other end has taken most of what was written; ConnectionError if gone."""
        await self._drain_helper()

    def close(self) -> None:
        """Close once everything written is sent."""
        self._outbox.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Reset the connection, so that a cut answer can never look whole.

        A plain close ends with FIN, which is how an answer without a length ends well.
        """
        if self.transport is None:
            return
        self._outbox.flush()
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def finish(self) -> None:
        """Send what is left and no more; what still comes is read and thrown away.

        A close with unread input resets, and that can take away what was sent last.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._resume_transport_reading()
        self._outbox.flush()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def tunnel_to(
        self, peer: "Stream", on_received: Callable[[bytes], None]
    ) -> "asyncio.Future[None]":
        """From now on `on_received` gets every byte, no faster than `peer` takes what it is sent.

        The future is done when this side is gone.
        """
        self.peer = peer
        self._on_received = on_received
        self._upgraded = True
        self.lost = self._loop.create_future()
        if self.transport is None:
            self.lost.set_result(None)
        if peer.writing_paused:
            self._pause_reading_for_buffer()
        else:
            self._resume_reading_for_buffer()
        return self.lost

    def relay(self, data: bytes) -> None:
        """Pass on what was received through the tunnel."""
        self._on_received(data)

    def take_unread(self) -> tuple[bytes, bool]:
        """What came over TLS while nobody read, and whether the other end's own word followed it:
        uvloop forgets both when the TCP below ends."""
        tls = None
        if self.transport is not None:
            tls = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return b"", False
        pieces = []
        try:
            while piece := tls.read(READ_BUFFER):
                pieces.append(piece)
        except ssl.SSLError:
            return b"".join(pieces), False
        return b"".join(pieces), True

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.peer is not None and (unread := self.take_unread()[0]):
            self.relay(unread)
        super().connection_lost(exc)
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.peer is not None:
            self.peer._pause_reading_for_buffer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.peer is not None:
            self.peer._resume_reading_for_buffer()


def _nothing(data: bytes) -> None:
    """No tunnel: nobody listens."""
