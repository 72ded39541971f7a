"""What still runs for a caller when its listener is drained."""

import asyncio

from gateway.domain.settings import Address, ListenerLimits
from gateway.proxy.client import Callbacks
from gateway.proxy.exchange import Exchange
from gateway.proxy.outbox import Outbox
from gateway.server import Listener


async def test_a_drain_waits_for_the_work_of_callers_who_have_left() -> None:
    """It may use Redis, which is closed after the drain, and record what was done."""
    begun, cancelled, recorded = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # redis-py can lose a cancellation, too.
            cancelled.set()
        try:
            await asyncio.Event().wait()
        finally:
            recorded.set()

    outbox = Outbox(asyncio.get_running_loop())
    callbacks = Callbacks(serve, lambda *_: None, lambda *_: None)
    listener = Listener(Address("127.0.0.1", 0), ListenerLimits(), callbacks, outbox)
    await listener.start()
    address = listener.address
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    writer.close()
    await cancelled.wait()
    assert await listener.drain(0.0) == 0, "no answer was cut: its caller had left"
    assert recorded.is_set()
