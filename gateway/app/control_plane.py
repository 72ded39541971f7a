"""What operators reach: metrics, the admin API and the console."""

import time
from collections.abc import Callable

from gateway.admin.answer import AdminApi
from gateway.admin.backend import Backend, Reloadable
from gateway.admin.console.console import Console
from gateway.app.foundation import Foundation
from gateway.crypto.tags import Peppers
from gateway.protocol.reply import Reply
from gateway.proxy.admin_door import AdminDoor
from gateway.proxy.health import Readiness
from gateway.services.admin_request import AdminRequest
from gateway.store.audit import AuditStore
from gateway.store.usage import UsageStore


def admin_door(
    base: Foundation,
    readiness: Readiness,
    metrics: Callable[[], bytes],
    live: Reloadable | None,
) -> AdminDoor:
    """`live`: where the policies come from, if they are read from files."""
    prefix = base.settings.store.prefix
    backend = Backend(
        base.client,
        prefix,
        Peppers(base.settings.peppers),
        base.policies,
        base.admission,
        base.audit,
        AuditStore(base.client, prefix),
        base.credentials,
        base.vault_for,
        base.links,
        UsageStore(base.client, prefix),
        base.workers,
        readiness,
        time.time,
        base.log_level,
        live,
    )
    keyless = base.settings.admin_listen.is_loopback
    api, console = AdminApi(backend, keyless=keyless), Console(backend)

    async def answer(request: AdminRequest) -> Reply | None:
        return await api(request) or await console(request)

    return AdminDoor(metrics, base.gatekeeper, base.policies, answer, keyless=keyless)
