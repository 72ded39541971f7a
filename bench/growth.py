"""`make bench-growth`: the cost of a request with more and more keys, agents, limits and workers.

BENCH_SECONDS=2 BENCH_ROUNDS=3 BENCH_SERIES=keys,agents,limits,workers
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench import load, machine
from bench.keys import POLICIES, make_keys
from bench.load import Case
from bench.peers import make_key, start_gateway
from bench.run import chosen, conditions, number, on_this_machine, one
from bench.site import Running, Site, start_backend
from bench.table import FIGURES, Results, Round, figures

KEYS = (10, 100, 1_000, 10_000, 100_000)
AGENTS = (1, 10, 100, 1_000)
LIMITS = (1, 5, 20)
WORKERS = (1, 2)
SECONDS, ROUNDS = 2, 3
WARM_UP_SECONDS = 1
_HEAD = f"{'':<10}{'how many':>9}{FIGURES}{'MB':>7}"

# A window can have one quota, so a plan can have seven limits for all requests of a key and seven
# more for those to one agent; the rest are for another agent.
_ALL_QUOTAS = ("s", "m", "h", "d", "month")
_MANY = 10**9


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a gateway and its case."""

    title: str
    gateway: Running
    case: Case


def main() -> None:
    series = chosen("BENCH_SERIES", tuple(SERIES), str)
    seconds, rounds = number("BENCH_SECONDS", SECONDS), number("BENCH_ROUNDS", ROUNDS)
    on_this_machine(lambda site: _grow(site, series, seconds, rounds))


def _grow(site: Site, series: Sequence[str], seconds: int, rounds: int) -> None:
    start_backend(site)
    make_key(site)
    print("\n".join(conditions(site, rounds, seconds)))
    print("\n".join([_HEAD, "-" * len(_HEAD)]), flush=True)
    for name in series:
        with site.shorter() as place:
            print("\n".join(_measured(place, name, seconds, rounds)), flush=True)


def _measured(site: Site, name: str, seconds: int, rounds: int) -> list[str]:
    rows = list(SERIES[name](site))
    for row in rows:
        load.run(row.case, row.gateway, site.key, WARM_UP_SECONDS)
    results = Results(_rounds(site, rows, seconds, rounds))
    lines = []
    for row in rows:
        # A row takes the place of a peer in the results; its ratio is that to the first row.
        ratio = results.ratio("cpu_us", name, row.title, rows[0].title)
        told = figures(results.of(name, row.title), ratio)
        memory = machine.resident_bytes(row.gateway.pid) >> 20
        lines.append(f"{name if row is rows[0] else '':<10}{row.title:>9}{told}{memory:>7,}")
    return lines


def _rounds(site: Site, rows: Sequence[Row], seconds: int, rounds: int) -> Iterator[Round]:
    for count in range(rounds):
        for row in rows if count % 2 == 0 else rows[::-1]:
            measured = one(site, count, row.gateway, row.case, seconds)
            yield replace(measured, peer=row.title)


def _by_keys(site: Site) -> Iterator[Row]:
    """Keys are drawn at random; each was used once before."""
    for count in KEYS:
        gateway = start_gateway(site)
        keys = make_keys(site, count)
        load.each_once(gateway, keys)
        lines = [f"/agents/bench/1k {key}" for key in keys]
        yield Row(f"{count:,}", gateway, _case(site, "keys", count, lines))


def _by_agents(site: Site) -> Iterator[Row]:
    (key,) = make_keys(site, 1, scopes="agents/*")
    for count in AGENTS:
        names = [f"agent{number}" for number in range(count)]
        gateway = start_gateway(site, _policies(site, f"agents-{count}", names))
        lines = [f"/agents/{name}/1k {key}" for name in names]
        yield Row(f"{count:,}", gateway, _case(site, "agents", count, lines))


def _by_limits(site: Site) -> Iterator[Row]:
    plans = "".join(f"  limits{count}: {_plan(count)}\n" for count in LIMITS)
    gateway = start_gateway(site, _policies(site, "limits", ["other"], plans))
    for count in LIMITS:
        (key,) = make_keys(site, 1, plan=f"limits{count}")
        yield Row(f"{count:,}", gateway, _case(site, "limits", count, [f"/agents/bench/1k {key}"]))


def _by_workers(site: Site) -> Iterator[Row]:
    for count in WORKERS:
        gateway = start_gateway(site, workers=count)
        lines = [f"/agents/bench/1k {site.key}"]
        yield Row(f"{count:,}", gateway, _case(site, "workers", count, lines))


SERIES: dict[str, Callable[[Site], Iterator[Row]]] = {
    "keys": _by_keys,
    "agents": _by_agents,
    "limits": _by_limits,
    "workers": _by_workers,
}


def _plan(count: int) -> str:
    """Return a plan with `count` limits, as many as possible for the agent that is called."""
    own, bench, other = min(count, 7), max(0, min(count - 7, 7)), max(0, count - 14)
    items = [_limits(own)]
    agents = [f"{n}: {{{_limits(c)}}}" for n, c in (("bench", bench), ("other", other)) if c]
    if agents:
        items.append(f"agents: {{{', '.join(agents)}}}")
    return f"{{{', '.join(items)}}}"


def _limits(count: int) -> str:
    """Return one to seven limits that are never reached: a rate, quotas, then a concurrency."""
    items = ["rate: 1000000/s"]
    quotas = [f"{_MANY}/{window}" for window in _ALL_QUOTAS[::-1][: count - 1]]
    if quotas:
        items.append(f"quota: [{', '.join(quotas)}]")
    if count == 7:
        items.append("concurrency: 100000")
    return ", ".join(items)


def _policies(site: Site, name: str, agents: Iterable[str], plans: str = "") -> str:
    """Make a directory of the bench's policies with more agents and plans; return its name."""
    lines = [f"  {agent}: {{upstream: http://127.0.0.1:{site.backend}}}\n" for agent in agents]
    text = POLICIES.format(backend=site.backend).replace("agents:\n", "agents:\n" + "".join(lines))
    folder = site.folder / name
    folder.mkdir()
    (folder / "bench.yaml").write_text(text + plans)
    return name


def _case(site: Site, series: str, count: int, lines: Sequence[str]) -> Case:
    path = site.folder / f"{series}-{count}.txt"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return Case(series, f"{count} {series}", "", mixed=path)


if __name__ == "__main__":
    main()
