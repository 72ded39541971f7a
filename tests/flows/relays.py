"""A wire between a gateway and its store that is slow, goes dead, or loses what comes back."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from gateway.domain.settings import StoreSettings
from tests.flows.own_store import OwnStore


class Relay:
    """`delay`: seconds each way. `dead`: nothing passes, and nobody is told. `eats`: of so many
    pieces of answers one is lost, with the connection that should have brought it; 0: none."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._pieces = 0
        self.eats = 0
        self.eaten = 0
        self.delay = 0.0
        self.alive = asyncio.Event()
        self.alive.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._server)
        mine = {writer, up_writer}
        self._writers |= mine
        ways = (self._copy(reader, up_writer), self._copy(up_reader, writer, answers=True))
        await asyncio.gather(*ways, return_exceptions=True)
        self._writers -= mine
        for one in mine:
            one.transport.abort()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        under_way: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()
        passing = asyncio.create_task(self._pass(under_way, arrived, sink))
        try:
            while data := await source.read(65536):
                if answers and self._is_eaten():
                    return
                under_way.append((loop.time() + self.delay, data))
                arrived.set()
        finally:
            passing.cancel()
            sink.transport.abort()

    async def _pass(
        self,
        under_way: deque[tuple[float, bytes]],
        arrived: asyncio.Event,
        sink: asyncio.StreamWriter,
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await arrived.wait()
            arrived.clear()
            while under_way:
                await asyncio.sleep(under_way[0][0] - loop.time())
                await self.alive.wait()
                sink.write(under_way.popleft()[1])

    def _is_eaten(self) -> bool:
        self._pieces += 1
        eaten = bool(self.eats) and self._pieces % self.eats == 0
        self.eaten += eaten
        return eaten

    def close(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def relayed(store: OwnStore) -> AsyncIterator[Relay]:
    """`store.settings` lead over the relay from now on; `store.client` goes straight."""
    relay = Relay(store.socket)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    store.settings = at_port(store.settings, server.sockets[0].getsockname()[1])
    try:
        yield relay
    finally:
        relay.close()
        server.close()


def at_port(settings: StoreSettings, port: int) -> StoreSettings:
    return replace(settings, url=f"redis://127.0.0.1:{port}")


@asynccontextmanager
async def deaf() -> AsyncIterator[socket.socket]:
    """A listener whose queue is full: the kernel drops every further SYN, and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filling = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
            filling.append(one)
        try:
            yield listener
        finally:
            for one in filling:
                one.close()
