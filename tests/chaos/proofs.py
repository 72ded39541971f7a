"""What argon2 costs a fleet: nothing, whoever restarts and whoever floods it."""

import asyncio
import json
import sys
import time
from statistics import median

from tests.chaos.calls import Call, Load, ask, outcomes, percentile
from tests.chaos.report import Report
from tests.chaos.site import Gateway, Site, run
from tests.cli.serving import Connection, environment
from tests.flows.test_attacks import unknown, wrong

FLOOD = 500
GOOD_CALLERS = 4
# About 150 requests a second: what waits in line behind others is not what is measured.
GOOD_PAUSE = 0.025
SECONDS = 6
SLOWER_AT_MOST = 2.0


async def flood(site: Site) -> Report:
    """500 bad keys a second, the ids of real keys among them, beside good traffic."""
    report = Report(f"flood of {FLOOD}/s")
    keys = await site.keys(200)
    bad = [wrong(key) for key in keys] + [unknown() for _ in keys]
    good = site.load(keys[:20], pause=GOOD_PAUSE)
    ratios, rates = [], []
    async with good.running(GOOD_CALLERS):
        await good.further(100)
        for _ in range(site.times(3)):
            quiet = await _p99_of(good)
            calls, loud = await _flooded(site, bad, good)
            ratios.append(loud / quiet)
            rates.append(len(calls) / SECONDS)
            report.count(calls)
            report.must(set(outcomes(calls)) == {"key_invalid"}, f"answered {outcomes(calls)}")
    report.count(good.calls)
    report.must(set(outcomes(good.calls)) == {"ok"}, "good traffic was refused")
    report.must(
        median(rates) > 0.9 * FLOOD, f"only {median(rates):.0f} bad keys a second were sent"
    )
    runs = sum([await gateway.argon2_runs() for gateway in site.gateways])
    report.must(runs == 0, f"{runs} argon2 runs")
    slower = median(ratios)
    report.must(slower <= SLOWER_AT_MOST, f"good traffic's p99 rose to {slower:.1f} times")
    told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    report.remarks.append(
        f"{median(rates):.0f} bad keys/s, {runs} argon2 runs, p99 of good traffic times {told}"
    )
    return report


async def _p99_of(good: Load) -> float:
    start = len(good.calls)
    await asyncio.sleep(SECONDS)
    return percentile(good.calls[start:], 0.99)


async def _flooded(site: Site, bad: list[str], good: Load) -> tuple[list[Call], float]:
    wish = {"addresses": good.addresses, "keys": bad, "rate": FLOOD, "seconds": SECONDS}
    start = len(good.calls)
    command = (sys.executable, "-m", "tests.chaos.flooder")
    told = await run(command, environment(), json.dumps(wish))
    return [Call(*row) for row in json.loads(told)], percentile(good.calls[start:], 0.99)


async def restart(site: Site, count: int) -> Report:
    """Many workers, many live keys: all workers are replaced, and no key is computed again."""
    (gateway,) = site.gateways
    report = Report(f"restart, {len(gateway.pids)} workers")
    keys = [key.text for key in await site.keys(count)]
    began = time.monotonic()
    report.count(await _each_once(gateway, keys))
    first = time.monotonic() - began
    await gateway.roll()
    report.count(await _each_once(gateway, keys[::-1]))
    runs = await gateway.argon2_runs()
    report.must(report.admitted == 2 * count, "a live key was refused")
    report.must(runs == 0, f"{runs} argon2 runs")
    report.remarks.append(f"{count} keys, {runs} argon2 runs, {count / first:.0f} first uses/s")
    return report


async def _each_once(gateway: Gateway, keys: list[str]) -> list[Call]:
    """Each key, over connections to whichever workers take them."""
    callers = 2 * len(gateway.pids)
    calls: list[Call] = []

    async def some(number: int) -> None:
        connection = Connection(*await asyncio.open_connection(*gateway.address))
        for key in keys[number::callers]:
            sent = time.monotonic()
            outcome, last = await ask(connection, "/agents/a/quick", key)
            calls.append(Call(number, sent, time.monotonic(), outcome))
            if last:
                connection.writer.close()
                connection = Connection(*await asyncio.open_connection(*gateway.address))
        connection.writer.close()

    await asyncio.gather(*map(some, range(callers)))
    return calls
