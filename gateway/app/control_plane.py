"""What operators reach: metrics, the admin API and the console."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from gateway.admin.api import AdminApi
from gateway.admin.backend import Backend, Reloadable
from gateway.admin.console.console import Console
from gateway.admin.routes import powers_at
from gateway.app.data_plane import DataPlane
from gateway.app.foundation import Foundation
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.tags import Peppers
from gateway.protocol.http.reply import Reply, Streamed
from gateway.proxy.admin_handler import AdminHandler
from gateway.proxy.health import Readiness
from gateway.services.admin_request import AdminRequest
from gateway.services.audit.readers import AuditReaders
from gateway.services.audit.verify import AuditVerifier
from gateway.services.credentials.links import Links
from gateway.services.credentials.uses import LookBack
from gateway.store.audit import AuditStore
from gateway.store.connections.connect import open_store
from gateway.store.links import LinkStore
from gateway.store.usage import UsageStore
from gateway.store.workers import WorkerStore


@asynccontextmanager
async def open_admin_handler(
    base: Foundation,
    plane: DataPlane,
    readiness: Readiness,
    live: Reloadable,
    url: Callable[[], str],
) -> AsyncIterator[AdminHandler]:
    """`live`: the source of the policies. `url` returns where users reach the data listener."""
    settings = base.settings

    def metrics() -> bytes:
        plane.journal.settle()
        return base.traffic.exposition()

    async with AsyncExitStack() as stack:
        client = base.client
        if settings.admin_store is not None:
            # Operators need rights in Redis that agents' calls do not need.
            client = await stack.enter_async_context(open_store(settings.admin_store))
        backend = _backend(base, plane, readiness, live, url, client)
        keyless = settings.admin_listen.is_loopback
        api, console = AdminApi(backend, keyless=keyless), Console(backend)

        async def answer(request: AdminRequest) -> Reply | Streamed | None:
            return await api(request) or await console(request)

        denied = plane.denials.count
        yield AdminHandler(metrics, base.gatekeeper, base.policies, answer, denied, keyless=keyless)


def _backend(
    base: Foundation,
    plane: DataPlane,
    readiness: Readiness,
    live: Reloadable,
    url: Callable[[], str],
    client: Redis,
) -> Backend:
    prefix = base.settings.store.prefix
    audit_store, retention = AuditStore(client, prefix), base.settings.audit.retention

    async def draining() -> bool:
        return "draining" in await readiness()

    return Backend(
        client=client,
        prefix=prefix,
        peppers=Peppers(base.settings.peppers),
        live=live,
        admission=base.admission,
        audit=base.audit,
        audit_store=audit_store,
        audit_readers=AuditReaders(audit_store, draining),
        audit_verifier=AuditVerifier(audit_store, audit_keys(base.envelope.keys), retention),
        look_back=LookBack(audit_store, retention),
        credentials=base.credentials,
        vault_for=base.vault_for,
        links=Links(LinkStore(client, prefix)),
        url=url,
        usage=UsageStore(client, prefix),
        workers=WorkerStore(client, prefix),
        ready=readiness,
        clock=time.time,
        powers_at=powers_at,
        log_level=base.log_level,
        programs=plane.programs,
    )
