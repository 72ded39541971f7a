"""The composition root: the only file that names concrete classes."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from redis.asyncio import Redis

from gateway.admin.answer import AdminApi
from gateway.admin.backend import Backend
from gateway.admin.console.console import Console
from gateway.crypto.argon2 import Argon2Pool
from gateway.crypto.draw import draw
from gateway.crypto.tags import Peppers
from gateway.domain.errors import OperationError, StoreError
from gateway.domain.policies import Policies
from gateway.domain.problems import Problem
from gateway.domain.settings import Settings, StoreSettings
from gateway.protocol.reply import Reply
from gateway.proxy.admin_door import AdminDoor
from gateway.proxy.balance import Balance
from gateway.proxy.connect import Connect
from gateway.proxy.forward import Forwarder
from gateway.proxy.handler import Handler
from gateway.proxy.inflight import Inflight
from gateway.proxy.models import Models
from gateway.proxy.outbox import Outbox
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.pull import Pull
from gateway.proxy.services import Services
from gateway.proxy.tool_programs import ToolPrograms
from gateway.proxy.tool_transports import program_transports
from gateway.proxy.tools import Tools
from gateway.server import Certificate, Listener, admin_callbacks, data_callbacks, stop_signals
from gateway.services.admin_request import AdminRequest
from gateway.services.admit import Clocks, Gatekeeper
from gateway.services.authenticate import Authenticator, Slot
from gateway.services.credentials import LiveCredentials
from gateway.services.denials import open_denials
from gateway.services.heartbeat import Heartbeat
from gateway.services.inject import open_injector
from gateway.services.leases import Leases
from gateway.services.links import Links
from gateway.services.open_audit import open_audit
from gateway.services.open_journal import open_journal
from gateway.services.open_programs import Programs, open_programs
from gateway.services.open_vault import live_credentials, missing_credentials, users_vault
from gateway.services.orphan_watch import OrphanWatch
from gateway.services.policies import list_directory, read_directory
from gateway.services.reflections import Reflections
from gateway.services.reload import Adapt, LivePolicies
from gateway.services.spend import Spender
from gateway.services.tool_sessions import open_tool_sessions
from gateway.services.traffic import Shared, Traffic
from gateway.services.usage import open_usage
from gateway.store.admission import PREPARE, Admission
from gateway.store.audit import AuditStore
from gateway.store.connect import examine, open_lines, open_store, resolved
from gateway.store.keys import KeyStore
from gateway.store.links import LinkStore
from gateway.store.usage import UsageStore
from gateway.store.workers import WorkerStore
from gateway.workers.handover import Handover
from gateway.workers.worker import Worker

log = structlog.get_logger()


@dataclass(slots=True)
class Gateway:
    """A gateway whose listeners are open. `policies`: the ones in force; `keys`: the records;
    `credentials`: what agents need of others; `programs`: those that are tools; `workers`: the
    heartbeats."""

    data: Listener
    admin: Listener
    policies: Callable[[], Policies]
    keys: KeyStore
    credentials: LiveCredentials
    programs: Programs
    workers: WorkerStore
    worker: Worker | None = None
    draining: bool = False

    async def drain(self, seconds: float) -> int:
        """Not ready from now on; finish what runs for at most `seconds`. How many were cut."""
        self.draining = True
        cut = await asyncio.gather(self.data.drain(seconds), self.admin.drain(seconds))
        return sum(cut)


async def run_gateway(
    settings: Settings,
    *,
    adapt: Adapt = lambda policies: policies,
    on_ready: Callable[[Gateway, StoreSettings], Awaitable[None]] | None = None,
    given: Handover | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. OperationError if it cannot start.

    `adapt` is applied to every set of policies that is loaded; `on_ready` is told when the
    listeners are open, and where the store is. `given`: by the supervisor of several workers.
    """
    _spare_the_collector()
    live = await _load(settings, adapt)
    async with resolved(settings.store) as store, AsyncExitStack() as stack:
        if settings.store.url is None:
            log.info("embedded_store", directory=str(store.state_dir), reach=store.redis_cli)
        settings = replace(settings, store=store)
        opened = open_gateway(settings, lambda: live.current, given, live)
        gateway = await stack.enter_async_context(opened)
        await _vet(live, gateway)
        stopped = stop_signals(lambda: live.reload("SIGHUP"))
        live.after_swap = OrphanWatch(gateway.keys, stack)
        _in_background(live.watch(), stack)
        _beat(gateway, stack)
        if gateway.worker is None:
            log.info("listening", data=str(gateway.data.address), admin=str(gateway.admin.address))
        else:
            gateway.worker.when_alone(stopped.set)
            gateway.worker.ready()
        if on_ready is not None:
            await on_ready(gateway, store)
        await stopped.wait()
        told = log if gateway.worker is None else log.bind(worker=os.getpid())
        told.info("draining", seconds=settings.drain)
        cut = await gateway.drain(settings.drain)
        told.info("stopped", connections_cut=cut)


def _spare_the_collector() -> None:
    """Requests leave no cycles behind; looking for some after every 700 objects took 4 % of a
    request, and a look at all that is remembered of keys stops the process for milliseconds."""
    gc.set_threshold(20_000, 20, 50)


async def _vet(live: LivePolicies, gateway: Gateway) -> None:
    """From now on no policies are taken whose credentials are missing, or whose programs cannot be
    kept apart; OperationError if these are such."""

    async def vet(policies: Policies) -> tuple[Problem, ...]:
        missing = await missing_credentials(gateway.credentials, policies)
        return (*missing, *await gateway.programs.vet.problems(policies))

    problems = await vet(live.current)
    if problems:
        raise OperationError(
            "The policies cannot be used:\n" + "\n".join(str(problem) for problem in problems)
        )
    live.vet = vet


async def _load(settings: Settings, adapt: Adapt) -> LivePolicies:
    listing = list_directory(settings.policies)
    loaded = await asyncio.to_thread(read_directory, settings.policies)
    if loaded.policies is None:
        problems = "\n".join(str(problem) for problem in loaded.problems)
        raise OperationError(f"The policies cannot be used:\n{problems}")
    for warning in loaded.warnings:
        log.warning("policy_warning", place=str(warning.place), message=warning.message)
    return LivePolicies(settings.policies, listing, loaded.policies, adapt)


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    policies: Callable[[], Policies],
    given: Handover | None = None,
    live: LivePolicies | None = None,
) -> AsyncIterator[Gateway]:
    """Serve on the addresses of `settings` under `policies`, until the context ends. `live`: where
    those come from, if they are read from files.

    OperationError if an address is taken. The store has to be there, but need not answer yet.
    `given`: the sockets of a supervisor stand in for the addresses.
    """
    async with AsyncExitStack() as stack:
        worker = _worker(given, settings, stack)
        client = await stack.enter_async_context(open_store(settings.store))
        await _warn_of_store(client)
        keys = KeyStore(client, settings.store.prefix)
        traffic = Traffic(Shared(Path(given.metrics), given.seat) if given else None)
        credentials = await stack.enter_async_context(live_credentials(settings, client, traffic))
        gatekeeper, admission = _gatekeeper(settings, keys, traffic, stack)
        outbox = Outbox(asyncio.get_running_loop())

        async def readiness() -> tuple[str, ...]:
            return await _missing(gateway, admission)

        readers = [traffic.count, worker.count] if worker is not None else [traffic.count]
        usage = await stack.enter_async_context(open_usage(settings.store))
        readers.append(usage.count)
        audit = await stack.enter_async_context(open_audit(settings, client))
        denials = open_denials(audit, traffic.canaries.inc, traffic.audit_lost.inc)
        readers.append((await stack.enter_async_context(denials)).count)
        spender = Spender(admission, usage)
        stack.push_async_callback(spender.close)
        journal = await stack.enter_async_context(open_journal(settings.access_log, *readers))
        forwarder = _forwarder(settings, keys, traffic, outbox, stack)
        vault_for = await stack.enter_async_context(users_vault(settings, client, audit))
        links = Links(LinkStore(client, settings.store.prefix), draw)
        connect = Connect(links, vault_for, credentials)
        pull = Pull(credentials, gatekeeper, keys, audit)
        injector = await stack.enter_async_context(open_injector(credentials))
        services = Services(injector, audit, forwarder)
        models = Models(gatekeeper, services, spender)
        reflections = Reflections(audit, traffic)
        sessions = open_tool_sessions(settings, client)
        programs = await stack.enter_async_context(open_programs(settings.children))
        served = ToolPrograms(program_transports(programs), forwarder, sessions)
        tools = Tools(gatekeeper, injector, services, served, sessions, reflections.tell)

        def metrics() -> bytes:
            journal.settle()
            return traffic.exposition()

        handler = Handler(
            policies,
            gatekeeper,
            forwarder,
            readiness,
            journal.add,
            pull,
            services,
            models,
            tools,
            connect,
        )
        keyless = settings.admin_listen.is_loopback
        workers = WorkerStore(client, settings.store.prefix)
        backend = Backend(
            client,
            settings.store.prefix,
            Peppers(settings.peppers),
            policies,
            admission,
            audit,
            AuditStore(client, settings.store.prefix),
            credentials,
            vault_for,
            links,
            UsageStore(client, settings.store.prefix),
            workers,
            readiness,
            time.time,
            live,
        )
        api = AdminApi(backend, keyless=keyless)
        console = Console(backend)

        async def administer(request: AdminRequest) -> Reply | None:
            return await api(request) or await console(request)

        door = AdminDoor(metrics, gatekeeper, policies, administer, keyless=keyless)
        gateway = Gateway(
            *_listeners(settings, handler, door, outbox, worker, stack),
            policies,
            keys,
            credentials,
            programs,
            workers,
            worker,
        )
        for listener in (gateway.data, gateway.admin):
            await listener.start()
            stack.push_async_callback(listener.drain, 0.0)
        yield gateway


def _forwarder(
    settings: Settings,
    keys: KeyStore,
    traffic: Traffic,
    outbox: Outbox,
    stack: AsyncExitStack,
) -> Forwarder:
    pool = UpstreamPool(asyncio.get_running_loop(), outbox)
    stack.callback(pool.close)
    inflight = Inflight(keys, time.monotonic, settings.stream_unchecked)
    _in_background(inflight.watch(), stack)
    forwarder = Forwarder(pool, Balance(time.monotonic), inflight, traffic)
    stack.push_async_callback(forwarder.close)
    return forwarder


def _listeners(
    settings: Settings,
    handler: Handler,
    door: AdminDoor,
    outbox: Outbox,
    worker: Worker | None,
    stack: AsyncExitStack,
) -> tuple[Listener, Listener]:
    """For callers, and for operators; the latter without TLS on loopback."""
    certificate = _certificate(settings, stack)
    private = settings.admin_listen.is_loopback
    data = Listener(
        settings.listen,
        settings.limits,
        data_callbacks(handler),
        outbox,
        certificate,
        worker.data if worker else (),
    )
    admin = Listener(
        settings.admin_listen,
        settings.limits,
        admin_callbacks(door, handler),
        outbox,
        None if private else certificate,
        worker.admin if worker else (),
    )
    return data, admin


def _gatekeeper(
    settings: Settings, keys: KeyStore, traffic: Traffic, stack: AsyncExitStack
) -> tuple[Gatekeeper, Admission]:
    store = settings.store
    admission = Admission(open_lines(store, PREPARE), store.prefix)
    stack.push_async_callback(admission.close)
    peppers = Peppers(settings.peppers)
    argon2 = Argon2Pool(on_run=traffic.argon2_runs.inc)
    stack.callback(argon2.close)

    async def write_tag(key_id: str, phc: str, tag: str, slot: Slot) -> None:
        await keys.write_tag(key_id, phc, tag, peppers.ids, slot is Slot.PREVIOUS)

    authenticator = Authenticator(peppers, argon2, write_tag, time.monotonic)
    stack.push_async_callback(authenticator.close)
    leases = Leases(admission)
    stack.push_async_callback(leases.close)
    clocks = Clocks(time.monotonic, time.time)
    return Gatekeeper(authenticator, admission, leases, clocks), admission


def _in_background(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run `work`, which never ends by itself, until the stack is closed."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


def _certificate(settings: Settings, stack: AsyncExitStack) -> Certificate | None:
    if settings.tls is None:
        return None
    certificate = Certificate(settings.tls)
    _in_background(certificate.watch(), stack)
    return certificate


def _worker(given: Handover | None, settings: Settings, stack: AsyncExitStack) -> Worker | None:
    if given is None:
        return None
    worker = Worker(given, settings.max_requests)
    stack.callback(worker.close)
    return worker


def _beat(gateway: Gateway, stack: AsyncExitStack) -> None:
    """Tell that this process lives, until the stack is closed."""
    listen = str(gateway.data.address)
    heartbeat = Heartbeat(gateway.workers, listen, lambda: gateway.policies().revision)
    stack.push_async_callback(heartbeat.end)
    _in_background(heartbeat.beat(), stack)


async def _warn_of_store(client: Redis) -> None:
    """A store that does not answer yet is waited for; one that cannot be used ends the start."""
    try:
        for warning in await examine(client):
            log.warning("store_settings", warning=warning)
    except StoreError as problem:
        log.warning("store_unreachable", reason=str(problem))


async def _missing(gateway: Gateway, admission: Admission) -> tuple[str, ...]:
    """What keeps the gateway from serving, a word each."""
    if gateway.draining:
        return ("draining",)
    try:
        await admission.ping()
    except StoreError:
        return ("store",)
    return () if gateway.credentials.ready else ("credentials",)
