"""The whole life of a serving process: policies, store, listeners, signals, drain."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from gateway.app.gateway import Gateway, open_gateway
from gateway.app.system import raise_file_limit, start_all_threads, tune_gc
from gateway.domain.errors import OperationError
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import Settings, StoreSettings
from gateway.log import log
from gateway.protocol.policy.read import Loaded
from gateway.services.credentials.open_vault import missing_credentials
from gateway.services.policies.directory import NEVER_LISTED, list_directory, read_directory
from gateway.services.policies.last_good import LastGoodPolicies
from gateway.services.policies.orphan_watch import OrphanWatch
from gateway.services.policies.reading import Reading
from gateway.services.policies.reload import Adapt, LivePolicies
from gateway.services.telemetry.heartbeat import Heartbeat
from gateway.services.telemetry.traffic import Traffic
from gateway.signals import AT_ONCE_SECONDS, EndsBy, stop_signals
from gateway.store.connections.connect import resolved
from gateway.tasks import in_background
from gateway.workers.handover import Handover

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
    tune_gc()
    settings = replace(settings, limits=raise_file_limit(settings.limits))
    await start_all_threads()
    last_good = LastGoodPolicies(Path(given.shared)) if given is not None else None
    try:
        live = await _load(settings, adapt, last_good)
    except asyncio.CancelledError:
        # Ctrl-C must end the process even if a disk does not answer.
        ends_by(AT_ONCE_SECONDS)
        raise
    async with resolved(settings.store) as store, AsyncExitStack() as stack:
        if settings.store.url is None:
            log.info("embedded_store", directory=str(store.state_dir), reach=store.redis_cli)
        opened = open_gateway(replace(settings, store=store), live, given)
        gateway = await stack.enter_async_context(opened)
        await _vet(live, gateway, lenient=given is not None and given.successor)
        stopped = _stop_signals(gateway, live, settings, ends_by)
        _watch(live, gateway, last_good, stack)
        _beat(gateway, stack)
        _say_ready(gateway, stopped)
        if on_ready is not None:
            await on_ready(gateway, store)
        await stopped.wait()
        ends_by(settings.drain + END_SECONDS)
        await _drain(gateway, settings.drain)


def _stop_signals(
    gateway: Gateway, live: LivePolicies, settings: Settings, ends_by: EndsBy
) -> asyncio.Event:
    delay = 0.0
    # A worker has no delay: its supervisor has waited already, or the other workers go on serving.
    if gateway.base.worker is None:
        delay = settings.shutdown_delay
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, _say_single)
    reload = partial(live.reload, "SIGHUP")
    return stop_signals(reload, ends_by, delay=delay, announce_end=gateway.announce_end)


def _say_single() -> None:
    reason = "A single process has no workers to replace: restart it, or run it with --workers."
    log.warning("rolling_restart_refused", reason=reason)


def _watch(
    live: LivePolicies, gateway: Gateway, last_good: LastGoodPolicies | None, stack: AsyncExitStack
) -> None:
    """Reload changed policies until the stack is closed, and report each set."""
    live.after_swap = OrphanWatch(gateway.base.keys, stack)
    live.tried = partial(_tried, gateway.base.traffic, last_good)
    live.reading.unread = gateway.base.traffic.policies_unread.set
    in_background(live.watch, stack)
    if last_good is not None:
        in_background(last_good.retry, stack)


def _beat(gateway: Gateway, stack: AsyncExitStack) -> None:
    """Send heartbeats until the stack is closed."""
    listen = str(gateway.data.address)
    heartbeat = Heartbeat(gateway.base.workers, listen, lambda: gateway.base.policies().revision)
    stack.push_async_callback(heartbeat.end)
    in_background(heartbeat.beat, stack)


def _say_ready(gateway: Gateway, stopped: asyncio.Event) -> None:
    """Tell the supervisor, or the log if there is none."""
    worker = gateway.base.worker
    if worker is None:
        log.info("listening", data=str(gateway.data.address), admin=str(gateway.admin.address))
    else:
        worker.listen(gateway.announce_end, stopped.set)
        worker.ready()


async def _drain(gateway: Gateway, seconds: float) -> None:
    who = {} if gateway.base.worker is None else {"worker": os.getpid()}
    log.info("draining", seconds=seconds, **who)
    cut = await gateway.drain(seconds)
    log.info("stopped", connections_cut=cut, **who)


async def _load(
    settings: Settings, adapt: Adapt, last_good: LastGoodPolicies | None
) -> LivePolicies:
    """Load the policies; OperationError if they cannot be used.

    One of several workers begins with those in force. It looks at other files in the directory once
    it serves, like the other workers.
    """
    reading = Reading(settings.policies)
    listing = await reading(list_directory, settings.policies)
    loaded = await reading(read_directory, settings.policies)
    in_force = await asyncio.to_thread(last_good.load) if last_good is not None else None
    if in_force is not None and (
        loaded.policies is None or loaded.policies.revision != in_force.revision
    ):
        return LivePolicies(settings.policies, NEVER_LISTED, in_force, adapt)
    if loaded.policies is None:
        raise _unusable(loaded.problems)
    for warning in loaded.warnings:
        log.warning("policy_warning", place=str(warning.place), message=warning.message)
    if in_force is None and last_good is not None:
        last_good.save(loaded.files)
    return LivePolicies(settings.policies, listing, loaded.policies, adapt)


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
        raise _unusable(problems)
    live.vet = vet


def _unusable(problems: Iterable[Problem]) -> OperationError:
    return OperationError("\n".join(("The policies cannot be used:", *map(str, problems))))


def _tried(traffic: Traffic, last_good: LastGoodPolicies | None, loaded: Loaded) -> None:
    taken = loaded.policies is not None
    traffic.policies_tried(taken=taken)
    if taken and last_good is not None:
        last_good.save(loaded.files)
