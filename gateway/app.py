"""The composition root: the only file that names concrete classes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.tags import Peppers
from gateway.domain.errors import StoreError
from gateway.domain.policies import Policies
from gateway.domain.settings import Settings
from gateway.proxy.forward import Forwarder
from gateway.proxy.handler import Handler
from gateway.proxy.pool import UpstreamPool
from gateway.server import Listener, closed_door_callbacks, data_callbacks
from gateway.services.admit import Clocks, Gatekeeper
from gateway.services.authenticate import Authenticator, Slot
from gateway.store.admission import Admission
from gateway.store.connect import connection_factory, open_store
from gateway.store.keys import KeyStore


@dataclass(slots=True)
class Gateway:
    """A gateway whose listeners are open."""

    data: Listener
    admin: Listener
    draining: bool = False

    async def drain(self, seconds: float) -> int:
        """Not ready from now on; finish what runs for at most `seconds`. How many were cut."""
        self.draining = True
        cut = await asyncio.gather(self.data.drain(seconds), self.admin.drain(seconds))
        return sum(cut)


@asynccontextmanager
async def open_gateway(
    settings: Settings, policies: Callable[[], Policies]
) -> AsyncIterator[Gateway]:
    """Serve on the addresses of `settings` under `policies`, until the context ends.

    OperationError if an address is taken. The store has to be there, but need not answer yet.
    """
    async with AsyncExitStack() as stack:
        gatekeeper, admission = await _gatekeeper(settings, stack)
        pool = UpstreamPool(asyncio.get_running_loop())
        stack.callback(pool.close)

        async def readiness() -> tuple[str, ...]:
            return await _missing(gateway, admission)

        handler = Handler(policies, gatekeeper, Forwarder(pool), readiness)
        gateway = Gateway(
            Listener(settings.listen, settings.limits, data_callbacks(handler)),
            Listener(settings.admin_listen, settings.limits, closed_door_callbacks(handler)),
        )
        for listener in (gateway.data, gateway.admin):
            await listener.start()
            stack.push_async_callback(listener.drain, 0.0)
        yield gateway


async def _gatekeeper(settings: Settings, stack: AsyncExitStack) -> tuple[Gatekeeper, Admission]:
    store = settings.store
    keys = KeyStore(await stack.enter_async_context(open_store(store)), store.prefix)
    admission = Admission(connection_factory(store), prefix=store.prefix, timeout=store.timeout)
    stack.push_async_callback(admission.close)
    peppers = Peppers(settings.peppers)
    argon2 = Argon2Pool()
    stack.callback(argon2.close)

    async def write_tag(key_id: str, phc: str, tag: str, slot: Slot) -> None:
        await keys.write_tag(key_id, phc, tag, peppers.ids, slot is Slot.PREVIOUS)

    authenticator = Authenticator(peppers, argon2, write_tag, time.monotonic)
    stack.push_async_callback(authenticator.close)
    clocks = Clocks(time.monotonic, lambda: datetime.now(UTC))
    return Gatekeeper(authenticator, admission, clocks), admission


async def _missing(gateway: Gateway, admission: Admission) -> tuple[str, ...]:
    """What keeps the gateway from serving, a word each."""
    if gateway.draining:
        return ("draining",)
    try:
        await admission.ping()
    except StoreError:
        return ("store",)
    return ()
