"""A port in front of a server that speaks TLS to whoever begins with it, and lets the rest pass.

The server that the tests use is built without TLS, and its peers do not speak it either.
"""

import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

HANDSHAKE = b"\x16"


class TlsRelay:
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.server_port = 0
        self.handshakes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A thread that waits in accept() is not woken by a close alone.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(peer,), daemon=True).start()

    def _relay(self, peer: socket.socket) -> None:
        with suppress(OSError), closing(peer):
            if peer.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                peer = self._context.wrap_socket(peer, server_side=True)
                self.handshakes += 1
            with closing(peer), socket.create_connection(("127.0.0.1", self.server_port)) as server:
                _copy(peer, server)


def _copy(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                while True:
                    data = source.recv(65536)
                    if not data:
                        return
                    key.data.sendall(data)
                    # What TLS has deciphered already makes no socket readable.
                    if not (isinstance(source, ssl.SSLSocket) and source.pending()):
                        break


@contextmanager
def tls_relay(context: ssl.SSLContext) -> Iterator[TlsRelay]:
    relay = TlsRelay(context)
    try:
        yield relay
    finally:
        relay.close()
