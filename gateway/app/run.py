"""The whole life of a serving process: policies, store, listeners, signals, drain."""

import asyncio
import gc
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from gateway.app.gateway import Gateway, open_gateway
from gateway.domain.errors import OperationError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import ListenerLimits, Settings, StoreSettings
from gateway.log import log
from gateway.protocol.policy.read import Loaded
from gateway.server import AT_ONCE_SECONDS, EndsBy, stop_signals
from gateway.services.credentials.open_vault import missing_credentials
from gateway.services.diagnosis.machine import connections_for, files_found
from gateway.services.policies.directory import UNSEEN, list_directory, read_directory
from gateway.services.policies.in_force import Keeping
from gateway.services.policies.orphan_watch import OrphanWatch
from gateway.services.policies.reading import Reading
from gateway.services.policies.reload import Adapt, LivePolicies
from gateway.services.telemetry.heartbeat import Heartbeat
from gateway.services.telemetry.traffic import Traffic
from gateway.store.connections.connect import resolved
from gateway.tasks import in_background, take_threads, threads
from gateway.workers.handover import Handover

# Open files to ask for if the system sets no limit.
MOST_FILES = 2**20
# The share of the wished-for connections that needs no warning: 20,000 files are a usual limit,
# which falls 50 short for 10,000 connections.
ENOUGH = 0.9
# Half of them look up names. Idle threads cost next to nothing.
LOOKUP_THREADS = 32
# In addition to the drain, for everything else to end; the embedded store may take ten of them.
END_SECONDS = 15.0


async def run_gateway(
    settings: Settings,
    *,
    adapt: Adapt = lambda policies: policies,
    on_ready: Callable[[Gateway, StoreSettings], Awaitable[None]] | None = None,
    given: Handover | None = None,
    ends_by: EndsBy = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. OperationError if it cannot start.

    `adapt` is applied to every loaded set of policies. `on_ready` is called when the listeners are
    open, with the place of the store. `given`: from the supervisor of several workers. `ends_by` is
    called when the process starts to stop, with the seconds within which it must have ended.
    """
    _spare_the_collector()
    settings = replace(settings, limits=_take_files(settings.limits))
    await _take_threads()
    keeping = Keeping(Path(given.shared)) if given is not None else None
    try:
        live = await _load(settings, adapt, keeping)
    except asyncio.CancelledError:
        # Ctrl-C must end the process even if a disk does not answer.
        ends_by(AT_ONCE_SECONDS)
        raise
    async with resolved(settings.store) as store, AsyncExitStack() as stack:
        if settings.store.url is None:
            log.info("embedded_store", directory=str(store.state_dir), reach=store.redis_cli)
        settings = replace(settings, store=store)
        opened = open_gateway(settings, live, given)
        gateway = await stack.enter_async_context(opened)
        await _vet(live, gateway, lenient=given is not None and given.successor)
        stopped = stop_signals(
            lambda: live.reload("SIGHUP"),
            ends_by,
            # A worker has no delay: its supervisor has waited already, or the other workers go on
            # serving.
            delay=settings.shutdown_delay if gateway.base.worker is None else 0.0,
            announce_end=gateway.announce_end,
        )
        live.after_swap = OrphanWatch(gateway.base.keys, stack)
        live.tried = partial(_tried, gateway.base.traffic, keeping)
        live.reading.unread = gateway.base.traffic.policies_unread.set
        in_background(live.watch(), stack)
        if keeping is not None:
            in_background(keeping.keep_on(), stack)
        _beat(gateway, stack)
        if gateway.base.worker is None:
            log.info("listening", data=str(gateway.data.address), admin=str(gateway.admin.address))
        else:
            gateway.base.worker.listen(gateway.announce_end, stopped.set)
            gateway.base.worker.ready()
        if on_ready is not None:
            await on_ready(gateway, store)
        await stopped.wait()
        ends_by(settings.drain + END_SECONDS)
        await _drain(gateway, settings.drain)


async def _drain(gateway: Gateway, seconds: float) -> None:
    who = {} if gateway.base.worker is None else {"worker": os.getpid()}
    log.info("draining", seconds=seconds, **who)
    cut = await gateway.drain(seconds)
    log.info("stopped", connections_cut=cut, **who)


def _spare_the_collector() -> None:
    """Run the garbage collector less often. Requests leave no cycles behind, and connections none
    that hold a body. A collection after every 700 objects took 4 % of a request, and a full one
    over all that is remembered of keys stops the process for milliseconds."""
    gc.set_threshold(20_000, 20, 50)


def _take_files(limits: ListenerLimits) -> ListenerLimits:
    """Raise the limit of open files to what the system allows. Shells and containers start with
    1,024, for programs that use select(): enough for a few hundred calls.

    Return the limits with no more connections than the files allow: when the last file is taken,
    nobody can connect any more, although idle connections could give way.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        # Not every system accepts the limit that it reports.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fitting = connections_for(files, limits.max_connections)
    if fitting < ENOUGH * limits.max_connections:
        log.warning("files_few", reason=files_found(files, limits.max_connections).sentence)
    return replace(limits, max_connections=fitting)


async def _take_threads() -> None:
    """Start all threads now; OperationError if there are too few: without them nothing that touches
    a file works."""
    take_threads()
    # The event loop starts its own lookup threads at the first lookup, and ends the process if it
    # cannot. These are started and given back just before, so nothing else can take them in
    # between.
    threads(LOOKUP_THREADS, "lookups").shutdown()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    await asyncio.get_running_loop().getnameinfo(("127.0.0.1", 0), numeric)


async def _vet(live: LivePolicies, gateway: Gateway, *, lenient: bool) -> None:
    """From now on accept no policies whose credentials are missing, or whose programs cannot be
    isolated; OperationError if that is so now.

    `lenient`: credentials that existed once may be missing. Calls that need one are refused, as
    they were by the process that this one replaces; otherwise the end of one process would end all.
    """

    async def vet(policies: Policies) -> tuple[Problem, ...]:
        missing = await missing_credentials(gateway.base.credentials, policies)
        return (*missing, *await gateway.programs.vet.problems(policies))

    problems = await gateway.programs.vet.problems(live.current)
    missing = await missing_credentials(gateway.base.credentials, live.current)
    if lenient:
        for problem in missing:
            log.error("policy_problem", place=str(problem.place), message=problem.message)
    else:
        problems = (*missing, *problems)
    if problems:
        raise OperationError(
            "The policies cannot be used:\n" + "\n".join(str(problem) for problem in problems)
        )
    live.vet = vet


def _tried(traffic: Traffic, keeping: Keeping | None, loaded: Loaded) -> None:
    taken = loaded.policies is not None
    traffic.policies_tried(taken=taken)
    if taken and keeping is not None:
        keeping.take(loaded.files)


async def _load(settings: Settings, adapt: Adapt, keeping: Keeping | None) -> LivePolicies:
    """Load the policies; OperationError if they cannot be used.

    One of several workers begins with those in force. It looks at other files in the directory once
    it serves, like the other workers.
    """
    reading = Reading(settings.policies)
    listing = await reading(list_directory, settings.policies)
    loaded = await reading(read_directory, settings.policies)
    in_force = await asyncio.to_thread(keeping.kept) if keeping is not None else None
    if in_force is not None and (
        loaded.policies is None or loaded.policies.revision != in_force.revision
    ):
        return LivePolicies(settings.policies, UNSEEN, in_force, adapt)
    if loaded.policies is None:
        problems = "\n".join(str(problem) for problem in loaded.problems)
        raise OperationError(f"The policies cannot be used:\n{problems}")
    for warning in loaded.warnings:
        log.warning("policy_warning", place=str(warning.place), message=warning.message)
    if in_force is None and keeping is not None:
        keeping.take(loaded.files)
    return LivePolicies(settings.policies, listing, loaded.policies, adapt)


def _beat(gateway: Gateway, stack: AsyncExitStack) -> None:
    """Send heartbeats until the stack is closed."""
    listen = str(gateway.data.address)
    heartbeat = Heartbeat(gateway.base.workers, listen, lambda: gateway.base.policies().revision)
    stack.push_async_callback(heartbeat.end)
    in_background(heartbeat.beat(), stack)
