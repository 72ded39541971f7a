"""A connection to the store through a relay that a test can stop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Connection, UnixDomainSocketConnection

from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import connection_factory
from gateway.store.connections.line import pack
from gateway.store.connections.multiplex import Multiplexer
from tests.awake import awake

SECONDS = 0.5


@pytest.fixture
async def line(store: StoreSettings) -> AsyncIterator[Multiplexer]:
    made = Multiplexer(connection_factory(store), timeout=2.0)
    yield made
    await made.close()


class Relay:
    """A socket between client and server that can hold back, cut and count."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.muted = False
        self.mutes_at = b"\0"
        self.requests = 0
        self.news = asyncio.Condition()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._server)
        self.writers += [writer, up_writer]
        await asyncio.gather(
            self._copy(reader, up_writer, mutable=False),
            self._copy(up_reader, writer, mutable=True),
        )

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, mutable: bool
    ) -> None:
        while data := await source.read(65536):
            if mutable and self.muted:
                continue
            if not mutable:
                self.muted = self.muted or self.mutes_at in data
                async with self.news:
                    self.requests += data.count(b"INCR")
                    self.news.notify_all()
            sink.write(data)
        sink.close()

    async def seen(self, requests: int) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: self.requests >= requests)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@asynccontextmanager
async def relayed(store: StoreSettings, folder: Path) -> AsyncIterator[tuple[Relay, Path]]:
    assert store.url
    relay = Relay(Path(store.url.removeprefix("unix://").partition("?")[0]))
    path = folder / "r"
    server = await asyncio.start_unix_server(relay.serve, path)
    try:
        yield relay, path
    finally:
        relay.cut()
        server.close()


@asynccontextmanager
async def relayed_line(
    store: StoreSettings, folder: Path, patience: float = 5.0, **more: Any
) -> AsyncIterator[tuple[Relay, Path, Multiplexer]]:
    """A connection through a relay, once it is made."""
    async with relayed(store, folder) as (relay, path):
        line = Multiplexer(connect_to(path), timeout=patience, **more)
        await line.call(pack("PING"))
        yield relay, path, line
        await line.close()


def connect_to(path: Path) -> Callable[[], Connection]:
    return lambda: UnixDomainSocketConnection(path=str(path), protocol=2, socket_timeout=SECONDS)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    with awake() as passed:
        yield
        assert passed() < seconds


async def answered(line: Multiplexer) -> None:
    """It reconnects by itself; until then calls end in StoreError, never in silence."""
    async with asyncio.timeout(10):
        while True:
            try:
                assert await line.call(pack("PING")) == b"PONG"
            except StoreError:
                await asyncio.sleep(0.005)
                continue
            return
