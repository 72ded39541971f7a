"""One key, hammered by all workers of all gateways at once: neither more nor less than it may."""

import asyncio
import time

from gateway.domain.keys.key import Key
from tests.chaos.report import Report
from tests.chaos.site import Site

CALLERS = 24
RATE, BURST = 200, 50
PLACES = 6


async def quotas(site: Site) -> Report:
    """To the request, whether a key's own or at one agent; the plan has the site's number."""
    report = Report("quota, exact")
    most = site.times(3000)
    for field, name, allowed in (("limits", f"quota={most}/month", most), ("plan", "here", 1000)):
        (key,) = await site.keys(**{field: name})
        reached = site.agent.reached
        async with site.load([key]).running(CALLERS) as load:
            await load.further(allowed + site.times(1000))
        report.count(load.calls)
        admitted = site.agent.reached - reached
        report.wrong += max(0, admitted - allowed)
        report.must(admitted == allowed, f"{admitted} admitted of a quota of {allowed}")
    report.expect("quota_exhausted")
    return report


async def rates(site: Site) -> Report:
    """At most burst + rate * T in any T seconds, by when they reached the agent; and all of it."""
    report = Report("rate, exact")
    (key,) = await site.keys(limits=f"rate={RATE}/s burst={BURST}")
    async with site.load([key]).running(CALLERS) as load:
        began = time.monotonic()
        await asyncio.sleep(site.times(6))
        took = time.monotonic() - began
    report.count(load.calls)
    report.wrong += max(0, round(report.admitted - BURST - RATE * (took + 0.1)))
    share = report.admitted / (BURST + RATE * took)
    report.must(share > 0.95, f"only {share:.0%} of the rate was admitted")
    report.remarks.append(f"{share:.1%} of burst + rate * T, in {took:.1f} s")
    report.expect("rate_limited")
    return report


async def concurrency(site: Site) -> Report:
    """As many under way as there are places, never one more, and none leaks."""
    report = Report("concurrency, exact")
    (key,) = await site.keys(limits=f"concurrency={PLACES}")
    site.agent.most = 0
    async with site.load([key], "/agents/a/slow").running(CALLERS) as load:
        await asyncio.sleep(site.times(5))
    report.count(load.calls)
    report.wrong += max(0, site.agent.most - PLACES)
    report.must(site.agent.most == PLACES, f"{site.agent.most} of {PLACES} places were taken")
    await _all_given_back(site, key, report)
    report.expect("concurrency_limited")
    return report


async def _all_given_back(site: Site, key: Key, report: Report) -> None:
    await asyncio.sleep(0.5)
    left = await site.store.client.zcard(f"gw:lease:{{{key.id}}}")
    report.must(left == 0, f"{left} places leaked")
