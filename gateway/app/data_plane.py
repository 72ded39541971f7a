"""What callers reach: agents, models, services, tools, and credentials to pull."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.app.foundation import Foundation
from gateway.domain.credentials import parse_id
from gateway.log import log
from gateway.proxy.connect import Connect
from gateway.proxy.forward import Forwarder
from gateway.proxy.handler import Handler
from gateway.proxy.health import Readiness
from gateway.proxy.inflight import Inflight
from gateway.proxy.large_bodies import LargeBodies
from gateway.proxy.models import Models
from gateway.proxy.outbox import Outbox
from gateway.proxy.pull import Pull
from gateway.proxy.services import Services
from gateway.proxy.tools.endpoint import Tools
from gateway.proxy.tools.programs import ToolPrograms
from gateway.proxy.uploads import Uploads
from gateway.proxy.upstream.balance import Balance
from gateway.proxy.upstream.pool import UpstreamPool
from gateway.services.audit.denials import DenialAudit, open_denials
from gateway.services.audit.queue import AuditQueue
from gateway.services.credentials.inject import open_injector
from gateway.services.telemetry.journal import Journal, open_journal
from gateway.services.telemetry.spend import Spender
from gateway.services.tools.open_programs import Programs, open_programs
from gateway.services.tools.results import Reflections, ToolResults
from gateway.services.tools.sessions import open_tool_sessions
from gateway.tasks import in_background

if TYPE_CHECKING:
    from gateway.services.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class DataPlane:
    """`journal`: all finished requests. `denials`: refusals for the audit. `outbox`: buffers what
    is written to callers. `programs`: the tool programs."""

    handler: Handler
    journal: Journal
    denials: DenialAudit
    outbox: Outbox
    programs: Programs


@asynccontextmanager
async def open_data_plane(base: Foundation, readiness: Readiness) -> AsyncIterator[DataPlane]:
    """Yield the data plane. When it closes, its work is ended and what it counted is written."""
    async with AsyncExitStack() as stack:
        spender = Spender(base.admission, base.usage)
        stack.push_async_callback(spender.close)
        queue = AuditQueue(base.audit, base.traffic.audit_lost.inc)
        stack.push_async_callback(queue.close)
        tracing = await _tracing(base, stack)
        denials = await stack.enter_async_context(open_denials(queue, base.traffic.canaries.inc))
        journal = await _journal(base, denials, ToolResults(queue), tracing, stack)
        outbox = Outbox(asyncio.get_running_loop())

        def is_known(name: str) -> bool:
            return parse_id(name) in base.credentials.known

        forwarder = _forwarder(base, outbox, is_known, stack)
        injector = await stack.enter_async_context(open_injector(base.credentials, base.audit))
        programs = await stack.enter_async_context(open_programs(base.settings.children, is_known))
        large = LargeBodies(base.settings.limits.max_held)
        stack.callback(large.close)
        uploads = Uploads(large, forwarder.inflight)
        services = Services(injector, base.audit, forwarder, large)
        sessions = open_tool_sessions(base.settings, base.client)
        tools = Tools(
            gatekeeper=base.gatekeeper,
            injector=injector,
            services=services,
            programs=ToolPrograms(programs, forwarder),
            sessions=sessions,
            tell=Reflections(queue, base.traffic).report,
            large=large,
            uploads=uploads,
        )
        handler = Handler(
            policies=base.policies,
            gatekeeper=base.gatekeeper,
            forwarder=forwarder,
            readiness=readiness,
            observe=journal.add,
            pull=Pull(base.credentials, base.gatekeeper, base.keys, base.audit),
            services=services,
            models=Models(base.gatekeeper, services, spender, large, uploads),
            tools=tools,
            connect=Connect(base.links, base.vault_for, base.credentials),
            trace_flags=None if tracing is None else tracing.flags,
        )
        yield DataPlane(handler, journal, denials, outbox, programs)


async def _tracing(base: Foundation, stack: AsyncExitStack) -> "Tracing | None":
    if not base.settings.traces:
        return None
    try:
        # An extra, which takes a fifth of a second to load.
        from gateway.services.telemetry.tracing import open_tracing
    except ModuleNotFoundError:
        log.warning("traces_off", reason="pip install 'agent-credential-gateway[otel]'")
        return None
    return await stack.enter_async_context(open_tracing())


async def _journal(
    base: Foundation,
    denials: DenialAudit,
    results: ToolResults,
    tracing: "Tracing | None",
    stack: AsyncExitStack,
) -> Journal:
    readers = [base.traffic.count, base.usage.count, denials.count, results.count]
    if tracing is not None:
        readers.append(tracing.count)
    if base.worker is not None:
        readers.append(base.worker.count)
    return await stack.enter_async_context(open_journal(base.settings.access_log, *readers))


def _forwarder(
    base: Foundation, outbox: Outbox, is_known: Callable[[str], bool], stack: AsyncExitStack
) -> Forwarder:
    pool = UpstreamPool(asyncio.get_running_loop(), outbox)
    stack.callback(pool.close)
    inflight = Inflight(base.keys, time.monotonic, base.settings.stream_unchecked, is_known)
    in_background(inflight.watch, stack)
    # One agent that hangs keeps at most half of the connections.
    most = max(1, base.settings.limits.max_connections // 2)
    forwarder = Forwarder(pool, Balance(time.monotonic), inflight, base.traffic, most)
    stack.push_async_callback(forwarder.close)
    return forwarder
