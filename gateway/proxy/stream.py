"""What connections on both sides of the proxy share: writing with backpressure, and tunnels."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable

from aiohttp.base_protocol import BaseProtocol

from gateway.proxy.outbox import Outbox

_RESET = struct.pack("ii", 1, 0)
READ_BUFFER = 2**16
# Bytes that are still read after a write has failed.
_LAST_WORDS = 2**18


class Stream(BaseProtocol):
    """A connection whose received bytes go to its parser, or, once it is a tunnel, to `peer`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        super().__init__(loop)
        self._outbox = outbox
        self.peer: Stream | None = None
        self.lost: asyncio.Future[None] | None = None
        self._on_received: Callable[[bytes], None] = _nothing

    def pause_reading(self) -> None:
        # Not the parser too: told behind a chunk, when its reader has too many, it stops in the
        # next one, and after the reader has gone on nothing wakes it. It only holds what came.
        self._reading_paused = True
        self._pause_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp's reader calls this after every piece. If reading was not paused, nothing waits in
        # the parser either, and having it look costs as much as reading a request head.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def write(self, data: bytes | memoryview) -> None:
        if self.transport is not None:
            self._outbox.add(self.transport, data)

    async def drain(self) -> None:
        """Wait until the peer has read most of what was written; raise ConnectionError if it is
        gone."""
        await self._drain_helper()

    @property
    def unsent(self) -> int:
        """The number of written bytes that have not been sent yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def close(self) -> None:
        """Close once everything written is sent."""
        self._outbox.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Reset the connection, so that a cut answer can never look whole.

        A plain close sends FIN, which is also the proper end of an answer without a length.
        """
        if self.transport is None:
            return
        self._outbox.flush()
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def finish(self) -> None:
        """Send what was written, and then the end of the stream; input is read and thrown away.

        A close with unread input resets the connection, and the peer may lose what was sent last.
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
        """Give every received byte to `on_received` from now on, no faster than `peer` sends them.

        Return a future that is done once this connection is lost.
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

    def take_unread(self, exc: BaseException | None) -> tuple[bytes, bool]:
        """Return the bytes that were received and not read, and whether the peer ended the stream
        behind them. uvloop drops both: over TLS when the TCP connection ends, over TCP when a write
        fails (`exc`)."""
        transport = self.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        sock = None if transport is None else transport.get_extra_info("socket")
        if tls is not None:
            return _read_all(lambda: bytes(tls.read(READ_BUFFER)))
        if exc is None or sock is None:
            return b"", False
        # The system reports the end of the stream also after a reset, so it proves nothing here.
        unread, _ = _read_all(lambda: os.read(sock.fileno(), READ_BUFFER), _LAST_WORDS)
        return unread, False

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.peer is not None and (unread := self.take_unread(exc)[0]):
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


def _read_all(read: Callable[[], bytes], most: int | None = None) -> tuple[bytes, bool]:
    """Return what `read` gives, and whether the end of the stream was reached."""
    pieces = bytearray()
    try:
        while most is None or len(pieces) < most:
            piece = read()
            if not piece:
                return bytes(pieces), True
            pieces += piece
    except OSError:
        # Nothing more is there, or it cannot be read.
        pass
    return bytes(pieces), False


def _nothing(data: bytes) -> None:
    """Drop the bytes: there is no tunnel."""
