"""`make chaos`: what the tests show for seconds, for minutes, on real processes. At most ten.

CHAOS_SCALE=1 CHAOS_ONLY=quotas,kills CHAOS_WORKERS=4 CHAOS_FLEET=20 CHAOS_KEYS=10000
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from tests.chaos import faults, limits, processes, proofs, secrets
from tests.chaos.report import Report, table
from tests.chaos.site import Site, missing_tools, setting, site

LONGEST = 600.0

SCENARIOS: dict[str, Callable[[Site], Awaitable[Report]]] = {
    "quotas": limits.quotas,
    "rates": limits.rates,
    "concurrency": limits.concurrency,
    "revocations": secrets.revocations,
    "streams": secrets.streams,
    "rotation": secrets.rotation,
    "rolling": processes.rolling,
    "kills": processes.kills,
    "leases": processes.leases,
    "forgotten": faults.forgotten,
    "killed": faults.killed,
    "hanging": faults.hanging,
    "restarted_empty": faults.restarted_empty,
    "flood": proofs.flood,
}


def chosen() -> list[str]:
    known = [*SCENARIOS, "restart"]
    wanted = [word for word in os.environ.get("CHAOS_ONLY", "").split(",") if word]
    strange = set(wanted) - set(known)
    if strange:
        sys.exit(f"CHAOS_ONLY: unknown {', '.join(sorted(strange))}; known: {', '.join(known)}")
    return [name for name in known if name in wanted or not wanted]


async def run_all(folder: Path, reports: list[Report]) -> None:
    names, scale = chosen(), setting("CHAOS_SCALE", 1.0)
    workers = int(setting("CHAOS_WORKERS", 4))
    if names != ["restart"]:
        async with site(folder / "fleet", workers=workers, scale=scale) as made:
            for name in names:
                if name in SCENARIOS:
                    await one(name, SCENARIOS[name], made, reports)
    if "restart" in names:
        many = int(setting("CHAOS_FLEET", 20))
        keys = int(setting("CHAOS_KEYS", 10_000))
        async with site(folder / "many", workers=many, gateways=1, scale=scale) as made:
            await one("restart", lambda site: proofs.restart(site, keys), made, reports)


async def one(
    name: str, scenario: Callable[[Site], Awaitable[Report]], made: Site, reports: list[Report]
) -> None:
    began = time.monotonic()
    print(f"{name} …", end=" ", flush=True)
    report = await scenario(made)
    report.close()
    for line in made.strange():
        report.violations.append(f"a gateway said: {line}")
    for gateway in made.gateways:
        gateway.strange.clear()
    reports.append(report)
    verdict = "holds" if not report.violations else "; ".join(report.violations)
    print(f"{report.sent} requests in {time.monotonic() - began:.0f} s: {verdict}", flush=True)


async def main() -> int:
    reports: list[Report] = []
    late = False
    with TemporaryDirectory(prefix="chaos-") as folder:
        try:
            async with asyncio.timeout(LONGEST):
                await run_all(Path(folder), reports)
        except TimeoutError:
            late = True
    print("", *table(reports), sep="\n")
    if late:
        print(f"VIOLATION: not done after {LONGEST:.0f} s")
    return int(late or any(report.violations for report in reports))


if __name__ == "__main__":
    if reason := missing_tools():
        sys.exit(reason)
    sys.exit(uvloop.run(main()))
