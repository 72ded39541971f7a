"""`make bench`: CPU time a request, in front of the same backend, in interleaved rounds.

BENCH_SECONDS=4 BENCH_ROUNDS=3 BENCH_CASES=1k,sse BENCH_PEERS=gateway,passthrough BENCH_JSON=FILE
"""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from bench import load, machine
from bench.backend import BIG, EVENTS
from bench.load import Case
from bench.peers import PEERS, MissingError, Running, Site, make_key, start_backend
from bench.table import Round, render
from gateway.store.embedded import embedded
from gateway.store.engine import find_engine

WARM_UP_SECONDS = 1
CASES = (
    Case("1k", "1 KB", "/1k"),
    Case("sse", f"SSE, {EVENTS} events", "/sse", streams=True),
    Case("down", "1 MB down", "/big"),
    Case("up", "1 MB up", "/upload", method="POST", body=BIG),
)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, for how long and how often."""

    cases: list[Case]
    peers: list[str]
    seconds: int
    rounds: int


def main() -> None:
    if sys.platform != "linux":
        sys.exit("The bench needs Linux: it reads CPU time from /proc.")
    if not load.has_wrk():
        sys.exit(load.HINT)
    plan = Plan(
        cases=_chosen("BENCH_CASES", CASES, lambda case: case.name),
        peers=_chosen("BENCH_PEERS", tuple(PEERS), str),
        seconds=int(os.environ.get("BENCH_SECONDS") or 4),
        rounds=int(os.environ.get("BENCH_ROUNDS") or 3),
    )
    cores = machine.cores()
    machine.pin(cores.others)
    try:
        with_site(cores, lambda site: _bench(site, plan))
    except load.LoadError as problem:
        sys.exit(str(problem))


def with_site(cores: machine.Cores, work: Callable[[Site], None]) -> None:
    """Do `work` where there is a store; whatever it starts ends with it."""
    with TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(_with_store(Path(folder), cores, work))


async def _with_store(folder: Path, cores: machine.Cores, work: Callable[[Site], None]) -> None:
    # Started here and not by the gateway, so that it is on another core.
    async with embedded(folder / "state"):
        with ExitStack() as stack:
            site = Site(folder, folder / "state", cores, stack)
            await asyncio.to_thread(work, site)


def _bench(site: Site, plan: Plan) -> None:
    start_backend(site)
    key = make_key(site)
    peers, missing = _start(site, plan.peers)
    print("\n".join(_conditions(site, plan)))
    before = machine.stolen()
    rounds = list(_measure(site, peers, plan, key))
    after = machine.stolen()
    print("\n".join(render(plan.cases, [peer.name for peer in peers], rounds)))
    for name, hint in missing:
        print(f"{name} is missing: {hint}")
    lost = (after.ticks - before.ticks) / (after.total - before.total)
    print(f"Taken by the machine's host meanwhile: {lost:.1%} of the processor time.")
    if path := os.environ.get("BENCH_JSON"):
        Path(path).write_text(json.dumps([asdict(one) for one in rounds], indent=1))


def _start(site: Site, names: Sequence[str]) -> tuple[list[Running], list[tuple[str, str]]]:
    peers, missing = [], []
    for name in names:
        try:
            peers.append(PEERS[name](site))
        except MissingError as reason:
            missing.append((name, str(reason)))
    return peers, missing


def _conditions(site: Site, plan: Plan) -> list[str]:
    where = "the measured process on one core, everything else on the others"
    if site.cores.measured is None:
        where = "one core for everything, so the rates are of all of it together"
    return [
        *machine.describe(str(find_engine())),
        f"{plan.rounds} rounds of {plan.seconds} s, {where}.",
        "",
    ]


def _measure(site: Site, peers: list[Running], plan: Plan, key: str) -> Iterator[Round]:
    for number in range(plan.rounds):
        for case in plan.cases:
            # Back and forth, so that a machine that grows slower favours nobody.
            for peer in peers if number % 2 == 0 else peers[::-1]:
                if number == 0:
                    load.run(case, peer.base, key, WARM_UP_SECONDS)
                yield _one(site, peer, case, key, plan.seconds)


def _one(site: Site, peer: Running, case: Case, key: str, seconds: int) -> Round:
    events, spent = _events(site), machine.cpu_seconds(peer.pid)
    done = load.run(case, peer.base, key, seconds)
    spent, events = machine.cpu_seconds(peer.pid) - spent, _events(site) - events
    # wrk counts only streams that ended; those that it cut cost as much an event.
    requests = events / EVENTS if case.streams else done.requests
    return Round(case.name, peer.name, spent / requests * 1e6, requests / done.seconds, done.p99_ms)


def _events(site: Site) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.backend}/events", timeout=5) as answer:
        return int(answer.read())


def _chosen(variable: str, known: Sequence[Item], name: Callable[[Item], str]) -> list[Item]:
    """The items that an environment variable names, separated by commas; all without it."""
    wanted = [word for word in os.environ.get(variable, "").split(",") if word]
    strange = set(wanted) - {name(item) for item in known}
    if strange:
        sys.exit(
            f"{variable}: unknown {', '.join(sorted(strange))}; known: "
            f"{', '.join(name(item) for item in known)}"
        )
    return [item for item in known if not wanted or name(item) in wanted]


if __name__ == "__main__":
    main()
