"""What argon2 costs a fleet: nothing, whoever restarts and whoever floods it."""

import asyncio
import json
import sys
import time

from tests.chaos.calls import Call, Load, ask, outcomes, percentile, within
from tests.chaos.report import Report
from tests.chaos.site import Gateway, Site, run
from tests.cli.serving import Connection, environment
from tests.flows.wrong_keys import unknown, wrong

FLOOD = 500
GOOD_CALLERS = 4
# About 150 requests a second: what waits in line behind others is not what is measured.
GOOD_PAUSE = 0.025
SECONDS = 4
SLOWER_AT_MOST = 2.0


async def flood(site: Site) -> Report:
    """500 bad keys a second, the ids of real keys among them, beside good traffic."""
    report = Report(f"flood of {FLOOD}/s")
    keys = await site.keys(200)
    bad = [wrong(key) for key in keys] + [unknown() for _ in keys]
    good = site.load(keys[:20], pause=GOOD_PAUSE)
    windows: list[tuple[list[Call], list[Call]]] = []
    async with good.running(GOOD_CALLERS):
        await good.further(100)
        for _ in range(site.times(5)):
            began = time.monotonic()
            await asyncio.sleep(SECONDS)
            quiet = within(good.calls, began)
            calls = await _flooded(good, bad)
            windows.append((quiet, within(good.calls, calls[0].began, calls[-1].ended)))
            report.count(calls)
            report.must(set(outcomes(calls)) == {"key_invalid"}, f"answered {outcomes(calls)}")
            sent = len(calls) / SECONDS
            report.must(sent > 0.9 * FLOOD, f"only {sent:.0f} bad keys a second were sent")
    report.count(good.calls)
    report.must(set(outcomes(good.calls)) == {"ok"}, "good traffic was refused")
    runs = sum([await gateway.argon2_runs() for gateway in site.gateways])
    report.must(runs == 0, f"{runs} argon2 runs")
    report.remarks.append(f"{runs} argon2 runs")
    _judge_p99(windows, report)
    return report


def _judge_p99(windows: list[tuple[list[Call], list[Call]]], report: Report) -> None:
    """Of all windows together; where the quiet ones alone differ by more, nothing can be told."""
    quiet, loud = (percentile([c for w in windows for c in w[i]], 0.99) for i in (0, 1))
    alone = [percentile(calls, 0.99) for calls, _ in windows]
    noise, slower = max(alone) / min(alone), loud / quiet
    told = f"p99 of good traffic {quiet * 1000:.1f} ms, under the flood {loud * 1000:.1f} ms"
    report.remarks.append(f"{told}, {slower:.2f} times; without it up to {noise:.2f} times")
    report.must(
        slower <= SLOWER_AT_MOST or noise > SLOWER_AT_MOST,
        f"good traffic's p99 rose to {slower:.1f} times",
    )


async def _flooded(good: Load, bad: list[str]) -> list[Call]:
    wish = {"addresses": good.addresses, "keys": bad, "rate": FLOOD, "seconds": SECONDS}
    command = (sys.executable, "-m", "tests.chaos.flooder")
    told = await run(command, environment(), json.dumps(wish))
    return [Call(*row) for row in json.loads(told)]


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
