"""Both planes behind their listeners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.admin.backend import Reloadable
from gateway.app.control_plane import open_admin_handler
from gateway.app.data_plane import DataPlane, open_data_plane
from gateway.app.foundation import Foundation, open_foundation
from gateway.domain.errors import StoreError
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import Settings, data_url
from gateway.proxy.admin_handler import AdminHandler
from gateway.proxy.client import Callbacks
from gateway.server import Certificate, Listener
from gateway.services.tools.open_programs import Programs
from gateway.tasks import in_background
from gateway.workers.handover import Handover


@dataclass(slots=True)
class Gateway:
    """A gateway with open listeners. `base`: its foundation; `programs`: the tool programs."""

    data: Listener
    admin: Listener
    base: Foundation
    programs: Programs
    draining: bool = False

    def announce_end(self) -> None:
        """Report not ready from now on, while callers are still served."""
        self.draining = True
        self.data.announce_end()

    async def drain(self, seconds: float) -> int:
        """Report not ready, and let requests finish for `seconds`. Return how many were cut."""
        self.draining = True
        cut = await asyncio.gather(self.data.drain(seconds), self.admin.drain(seconds))
        return sum(cut)


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    live: Reloadable,
    given: Handover | None = None,
) -> AsyncIterator[Gateway]:
    """Serve on the addresses of `settings` under the policies of `live`, until the context ends.

    OperationError if an address is taken. The store has to exist, but need not answer yet. `given`:
    the sockets of a supervisor replace the addresses.
    """

    def policies() -> Policies:
        return live.current

    async def readiness() -> tuple[str, ...]:
        return await _missing(gateway)

    def url() -> str:
        return settings.url or data_url(gateway.data.address, tls=settings.tls is not None)

    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_foundation(settings, policies, given))
        plane = await stack.enter_async_context(open_data_plane(base, readiness))
        admin_handler = await stack.enter_async_context(
            open_admin_handler(base, plane, readiness, live, url)
        )
        data, admin = _listeners(base, plane, admin_handler, stack)
        gateway = Gateway(data, admin, base, plane.programs)
        for listener in (data, admin):
            await listener.start()
            stack.push_async_callback(listener.drain, 0.0)
        yield gateway


def _listeners(
    base: Foundation, plane: DataPlane, admin_handler: AdminHandler, stack: AsyncExitStack
) -> tuple[Listener, Listener]:
    """Return the listeners for callers and for operators; the latter has no TLS on loopback."""
    settings, worker, handler = base.settings, base.worker, plane.handler
    certificate = _certificate(settings, stack)
    private = settings.admin_listen.is_loopback
    data = Listener(
        settings.listen,
        settings.limits,
        Callbacks(handler.serve, handler.refuse, handler.bug),
        plane.outbox,
        certificate,
        worker.data if worker else (),
    )
    admin = Listener(
        settings.admin_listen,
        settings.limits,
        Callbacks(admin_handler.serve, admin_handler.refuse, handler.bug),
        plane.outbox,
        None if private else certificate,
        worker.admin if worker else (),
    )
    return data, admin


def _certificate(settings: Settings, stack: AsyncExitStack) -> Certificate | None:
    if settings.tls is None:
        return None
    certificate = Certificate(settings.tls)
    in_background(certificate.watch, stack)
    return certificate


async def _missing(gateway: Gateway) -> tuple[str, ...]:
    """Return what keeps the gateway from serving, a word each."""
    try:
        await gateway.base.admission.ping()
        missing = () if gateway.base.credentials.ready else ("credentials",)
    except StoreError:
        missing = ("store",)
    # Checked after the last await: an answer that says "draining" closes its connection.
    return ("draining",) if gateway.draining else missing
