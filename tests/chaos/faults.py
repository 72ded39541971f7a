"""Redis dies, comes back, hangs, forgets, and every caller is told so in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.domain.keys.key import Key
from tests.chaos.calls import OK, recovery, within
from tests.chaos.report import Report
from tests.chaos.site import Site

CALLERS = 16
AWAY = 2.0
RECOVERED_WITHIN = 5.0
# GATEWAY_REDIS_TIMEOUT, and what a busy machine adds.
ANSWERED_WITHIN = 1.0 + 2.0
UNLIMITED = "quota=100000000/month"

Act = Callable[[], Awaitable[None]]


async def killed(site: Site) -> Report:
    async def kill() -> None:
        await asyncio.to_thread(site.store.kill)

    return await _away(site, "Redis killed, restarted", kill, site.store.start)


async def hanging(site: Site) -> Report:
    async def freeze() -> None:
        site.store.freeze()

    async def thaw() -> None:
        site.store.thaw()

    return await _away(site, "Redis hangs", freeze, thaw)


async def _away(site: Site, name: str, leave: Act, come_back: Act) -> Report:
    report = Report(name)
    (key,) = await site.keys(limits=UNLIMITED)
    charged, reached = await _charged(site, key), site.agent.reached
    async with site.load([key]).running(CALLERS) as load:
        for _ in range(site.times(4)):
            await load.further(10 * CALLERS)
            await leave()
            left = time.monotonic()
            await asyncio.sleep(AWAY)
            returns = time.monotonic()
            await come_back()
            back = time.monotonic()
            await asyncio.sleep(1.0)
            await _until_recovered(load.calls, back)
            report.recovered(recovery(load.calls, back), RECOVERED_WITHIN)
            late = within(load.calls, left, returns)
            report.wrong += sum(call.outcome == OK for call in late)
            slowest = max((call.ended - call.began for call in late), default=0.0)
            report.must(slowest <= ANSWERED_WITHIN, f"an answer took {slowest:.1f} s")
    report.count(load.calls)
    report.expect("store_unavailable")
    admitted = site.agent.reached - reached
    charges = await _charged(site, key) - charged
    unknown = report.refused["store_unavailable"]
    report.must(admitted <= charges, f"{admitted} admitted and only {charges} charged")
    report.must(charges <= admitted + unknown, f"{charges} charged for {admitted} and {unknown}")
    report.remarks.append(f"{charges} charged, {admitted} reached the agent, {unknown} not told")
    return report


async def _until_recovered(calls: list, back: float) -> None:  # type: ignore[type-arg]
    while recovery(calls, back) == float("inf") and time.monotonic() < back + 2 * RECOVERED_WITHIN:
        await asyncio.sleep(0.05)


async def _charged(site: Site, key: Key) -> int:
    return int(await site.store.client.get(f"gw:quota:{{{key.id}}}:month") or 0)


async def forgotten(site: Site) -> Report:
    """Scripts flushed all the time: nobody notices, and nothing is charged twice."""
    report = Report("scripts flushed")
    (key,) = await site.keys(limits=UNLIMITED)
    reached = site.agent.reached
    async with site.load([key]).running(CALLERS) as load:
        for _ in range(site.times(200)):
            await site.store.client.script_flush()
            await asyncio.sleep(0.01)
    report.count(load.calls)
    report.expect()
    charges, admitted = await _charged(site, key), site.agent.reached - reached
    report.must(charges == admitted, f"{charges} charged for {admitted}")
    return report


async def restarted_empty(site: Site) -> Report:
    """It knows nobody any more: nobody is admitted, not even by a process that believes to know."""
    report = Report("Redis restarted empty")
    keys = await site.keys(20)
    async with site.load(keys).running(CALLERS) as load:
        await load.further(20 * CALLERS)
        await asyncio.to_thread(site.store.kill)
        died = time.monotonic()
        site.store.forget()
        await site.store.start()
        await asyncio.sleep(1.5)
        await load.further(20 * CALLERS)
    report.count(load.calls)
    report.wrong += sum(call.outcome == OK for call in within(load.calls, died))
    report.expect("store_unavailable", "key_invalid")
    return report
