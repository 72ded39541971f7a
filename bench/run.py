"""`make bench`: the CPU time a request of every peer, in interleaved rounds.

BENCH_SECONDS=3 BENCH_ROUNDS=3 BENCH_CASES=1k,sse BENCH_PEERS=gateway,passthrough BENCH_RATE=1000
BENCH_JSON=FILE
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
from bench.backend import EVENTS
from bench.cases import CASES, at_half_speed, cold_keys, takes_part, with_requests
from bench.checks import CheatError, check
from bench.goals import verdicts
from bench.load import Case
from bench.peers import PEERS, make_key
from bench.site import MissingError, Running, Site, start_backend
from bench.table import Results, Round, render
from gateway.store.embedded.engine import find_engine
from gateway.store.embedded.server import embedded

WARM_UP_SECONDS = 1
SECONDS, ROUNDS = 3, 3

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, for how long and how often."""

    cases: list[Case]
    peers: list[str]
    seconds: int
    rounds: int
    rate: float


def main() -> None:
    plan = Plan(
        cases=chosen("BENCH_CASES", CASES, lambda case: case.name),
        peers=chosen("BENCH_PEERS", tuple(PEERS), str),
        seconds=number("BENCH_SECONDS", SECONDS),
        rounds=number("BENCH_ROUNDS", ROUNDS),
        rate=number("BENCH_RATE", 0),
    )
    on_this_machine(lambda site: _bench(site, plan))


def on_this_machine(work: Callable[[Site], None]) -> None:
    """Do `work` with a running store; everything it starts ends with it. Exit with a message if
    this machine cannot."""
    if sys.platform != "linux":
        sys.exit("The bench needs Linux: it reads CPU time from /proc.")
    if not load.has_wrk():
        sys.exit(load.HINT)
    cores = machine.cores()
    machine.pin(cores.others)
    try:
        with_site(cores, work)
    except (load.LoadError, CheatError) as problem:
        sys.exit(str(problem))


def with_site(cores: machine.Cores, work: Callable[[Site], None]) -> None:
    """Do `work` with a running store; everything it starts ends with it."""
    with TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(_with_store(Path(folder), cores, work))


async def _with_store(folder: Path, cores: machine.Cores, work: Callable[[Site], None]) -> None:
    # Started here and not by the gateway, so that it runs on another core.
    async with embedded(folder / "state"):
        with ExitStack() as stack:
            site = Site(folder, folder / "state", cores, stack)
            await asyncio.to_thread(work, site)


def _bench(site: Site, plan: Plan) -> None:
    start_backend(site)
    make_key(site)
    peers, missing = _start(site, plan.peers)
    check(site, peers)
    print("\n".join(conditions(site, plan.rounds, plan.seconds)), flush=True)
    cases = [_paced(site, case, peers, plan.rate) for case in plan.cases]
    before = machine.stolen()
    results = Results(rounds := list(_measure(site, peers, cases, plan)))
    lost = machine.stolen_since(before)
    print("\n".join(render(cases, [peer.name for peer in peers], results)))
    for name, hint in missing:
        print(f"{name} is missing: {hint}")
    print("\n".join(["", *verdicts(results), ""]))
    print(f"Taken by the machine's host meanwhile: {lost:.1%} of the processor time.")
    if path := os.environ.get("BENCH_JSON"):
        Path(path).write_text(json.dumps([asdict(one) for one in rounds], indent=1))


def _start(site: Site, names: Sequence[str]) -> tuple[list[Running], list[tuple[str, str]]]:
    peers, missing = [], []
    for name in names:
        try:
            peers.append(PEERS[name].start(site))
        except MissingError as reason:
            missing.append((name, str(reason)))
    return peers, missing


def conditions(site: Site, rounds: int, seconds: int) -> list[str]:
    where = "the measured process on one core, everything else on the others"
    if site.cores.measured is None:
        where = "one core for everything, so the rates are of all of it together"
    return [
        *machine.describe(str(find_engine())),
        f"{rounds} rounds of {seconds} s, {where}.",
        "",
    ]


def _paced(site: Site, case: Case, peers: Sequence[Running], rate: float) -> Case:
    if case.name != "paced":
        return case
    passthrough = next((peer for peer in peers if peer.name == "passthrough"), None)
    return at_half_speed(case, passthrough, site.key, rate)


def _measure(
    site: Site, peers: Sequence[Running], cases: Sequence[Case], plan: Plan
) -> Iterator[Round]:
    keys = cold_keys(site)
    for number in range(plan.rounds):
        for case in cases:
            taking_part = [peer for peer in peers if takes_part(case, peer.name)]
            # In alternating order, so that a machine that becomes slower favours no peer.
            for peer in taking_part if number % 2 == 0 else taking_part[::-1]:
                if case.name == "cold":
                    yield _cold(site, number, peer.name, case, keys)
                    continue
                asked = with_requests(site, case, peer)
                if number == 0:
                    load.run(asked, peer, site.key, WARM_UP_SECONDS)
                yield one(site, number, peer, asked, plan.seconds)


def one(site: Site, number: int, peer: Running, case: Case, seconds: int) -> Round:
    """Run one round of a case and return its cost."""
    events, spent = _events(site), machine.cpu_seconds(peer.pid)
    done = load.run(case, peer, site.key, seconds)
    spent, events = machine.cpu_seconds(peer.pid) - spent, _events(site) - events
    per_second, cost = done.per_second, spent / max(1, done.requests)
    if case.streams:
        # wrk counts only streams that ended, so the cost is that of the events sent.
        per_second, cost = events / EVENTS / seconds, spent / events * EVENTS
    return Round(number, case.name, peer.name, cost * 1e6, per_second, done.p99_ms)


def _cold(site: Site, number: int, name: str, case: Case, keys: Sequence[str]) -> Round:
    """Use each key for the first time on a process that has just started."""
    with site.shorter() as place:
        peer = PEERS[name].start(place)
        spent = machine.cpu_seconds(peer.pid)
        done = load.each_once(peer, keys)
        spent = machine.cpu_seconds(peer.pid) - spent
    cost = spent / done.requests * 1e6
    return Round(number, case.name, name, cost, done.per_second, done.p99_ms)


def _events(site: Site) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.backend}/events", timeout=5) as answer:
        return int(answer.read())


def number(variable: str, otherwise: int) -> int:
    return int(os.environ.get(variable) or otherwise)


def chosen(variable: str, known: Sequence[Item], name: Callable[[Item], str]) -> list[Item]:
    """Return the items that an environment variable names, separated by commas; by default all."""
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
