"""Answers of the admin listener that go on by themselves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from gateway.domain.errors import Denied
from gateway.domain.settings import Address, ListenerLimits
from gateway.protocol.http.reply import Streamed
from gateway.proxy.admin_handler import _stream
from gateway.proxy.client import Callbacks, ClientConnection
from gateway.proxy.exchange import Exchange
from gateway.proxy.outbox import Outbox
from gateway.server import Listener


async def test_a_stream_ends_with_its_reader_even_where_its_source_lost_the_cancellation() -> None:
    ended, lost = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"piece"
                if lost.is_set():
                    await asyncio.sleep(0)
                    continue
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
                lost.set()
        finally:
            ended.set()

    async def serve(exchange: Exchange) -> None:
        await _stream(exchange, Streamed(200, (), pieces()))

    def unexpected(_: ClientConnection, problem: Denied | BaseException) -> None:
        raise AssertionError from problem

    callbacks = Callbacks(serve, unexpected, unexpected)
    outbox = Outbox(asyncio.get_running_loop())
    listener = Listener(Address("127.0.0.1", 0), ListenerLimits(), callbacks, outbox)
    await listener.start()
    reader, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"piece")
    writer.close()
    async with asyncio.timeout(10):
        await ended.wait()
    assert lost.is_set()
    await listener.drain(0)
