"""Workers that die and workers that are replaced, under load."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.chaos.calls import ask
from tests.chaos.report import Report
from tests.chaos.site import Gateway, Site
from tests.cli.serving import Connection

CALLERS = 16
KILL_EVERY = 1.5
REPLACED_WITHIN = 10.0
LEASE_BOUND = 32.0


async def kills(site: Site) -> Report:
    """A dead worker costs its own connections, and another one takes its place."""
    report, cuts = Report("worker kill -9"), []
    keys = await site.keys(20)
    async with site.load(keys).running(CALLERS) as load:
        for number in range(site.times(8)):
            await load.further(10 * CALLERS)
            gateway = site.gateways[number % len(site.gateways)]
            pids = gateway.pids
            # The kernel may give one worker all connections: the end of another one shows nothing.
            size, victim = len(pids), max(pids, key=_open_descriptors)
            ready = len(gateway.said("worker_ready"))
            cuts.append(time.monotonic())
            os.kill(victim, signal.SIGKILL)
            await gateway.says("worker_ready", ready + 1)
            report.recovered(time.monotonic() - cuts[-1], REPLACED_WITHIN)
            report.must(len(gateway.pids) == size, "a worker is missing")
            await asyncio.sleep(KILL_EVERY)
    report.count(load.calls, cuts)
    report.must(0 < report.cut <= CALLERS * len(cuts), f"{report.cut} cut by {len(cuts)} kills")
    report.expect()
    return report


def _open_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def leases(site: Site) -> Report:
    """The place of a request that died with its worker is free again in time, and not before."""
    report = Report("lease of a dead worker")
    (key,) = await site.keys(limits="concurrency=1")
    gateway = site.gateways[0]
    site.agent.go_on.clear()
    holder = Connection(*await asyncio.open_connection(*gateway.address))
    reached = site.agent.reached
    holder.send("/agents/a/held", key.text)
    while site.agent.reached == reached:
        await asyncio.sleep(0.02)
    killed = time.monotonic()
    for pid in gateway.pids:
        os.kill(pid, signal.SIGKILL)
    site.agent.go_on.set()
    while time.monotonic() < killed + LEASE_BOUND + 5:
        outcome = await _at(site.gateways[-1], key.text)
        report.sent += 1
        if outcome == "ok":
            report.admitted += 1
            break
        report.refused[outcome] += 1
        await asyncio.sleep(0.2)
    report.recovered(time.monotonic() - killed, LEASE_BOUND)
    report.must(report.admitted == 1, "the place was never given back")
    report.expect("concurrency_limited")
    holder.writer.close()
    await _all_serve(gateway)
    return report


async def _at(gateway: Gateway, key: str) -> str:
    connection = Connection(*await asyncio.open_connection(*gateway.address))
    outcome, _ = await ask(connection, "/agents/a/quick", key)
    connection.writer.close()
    return outcome


async def _all_serve(gateway: Gateway) -> None:
    while len(gateway.pids) < len(gateway.crew.pids):
        await asyncio.sleep(0.1)


async def rolling(site: Site) -> Report:
    """Every worker of every gateway is replaced, and not one request notices."""
    report = Report("rolling restart")
    keys = await site.keys(20)
    async with site.load(keys).running(CALLERS) as load:
        for gateway in site.gateways:
            before = set(gateway.pids)
            began = time.monotonic()
            await gateway.roll()
            report.remarks.append(f"{len(before)} workers in {time.monotonic() - began:.1f} s")
            new = set(gateway.pids) - before
            report.must(len(new) == len(before), f"{len(new)} of {len(before)} were replaced")
    report.count(load.calls)
    report.expect()
    return report
