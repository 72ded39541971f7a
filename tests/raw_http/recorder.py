"""An agent that writes down every byte it is sent, and answers whatever looks like a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

from tests.raw_http.readers import Lax, Request, agreed

# It answers as soon as somebody lax would, so that what is smuggled gets its answer too.
_LAX = Lax(line_end=rb"\r?\n")


@dataclass
class Recorder:
    """`connections`: what was received on each, in order of their beginning."""

    connections: list[bytearray] = field(default_factory=list)
    port: int = 0

    def forget(self) -> None:
        """Later requests are looked at by themselves; connections that are kept stay open."""
        for received in self.connections:
            received.clear()

    @property
    def requests(self) -> list[Request]:
        """All whole requests; MalformedError if any reader could read others."""
        return [request for received in self.connections for request in agreed(bytes(received))]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = bytearray()
        self.connections.append(received)
        answered = 0
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                if not received:
                    answered = 0
                received += data
                requests = _LAX.read(bytes(received))
                for request in requests[answered:]:
                    nonce = b"".join(v for n, v in request.headers if n == b"x-nonce")
                    body = b"" if request.method == b"HEAD" else nonce
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nX-Nonce: %b\r\nContent-Length: %d\r\n\r\n%b"
                        % (nonce, len(nonce), body)
                    )
                answered = len(requests)


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
