"""Profile a request: py-spy on the gateway while wrk requests 1 KB answers.

python -m bench.profile            the functions that take most time, alone and with callees
python -m bench.profile OUT.svg    a flame graph
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench import load, machine
from bench.cases import CASES
from bench.peers import make_key, start_gateway
from bench.run import WARM_UP_SECONDS, with_site
from bench.site import Site, start_backend

SECONDS = 15
RATE = 200
SHOWN = 30
HINT = "py-spy is missing: pip install py-spy"

_LINE = re.compile(r":\d+\)$")


def main() -> None:
    if shutil.which("py-spy") is None or not load.has_wrk():
        sys.exit(HINT if load.has_wrk() else load.HINT)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    cores = machine.cores()
    machine.pin(cores.others)
    with_site(cores, lambda site: _profile(site, target))


def _profile(site: Site, target: Path | None) -> None:
    start_backend(site)
    key = make_key(site)
    gateway = start_gateway(site)
    load.run(CASES[0], gateway, key, WARM_UP_SECONDS)
    raw = site.folder / "profile.txt"
    kind = ("flamegraph", target) if target else ("raw", raw)
    spy = subprocess.Popen(
        [
            *("py-spy", "record", "--pid", str(gateway.pid), "--duration", str(SECONDS)),
            *("--rate", str(RATE), "--format", kind[0], "--output", str(kind[1])),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    load.run(CASES[0], gateway, key, SECONDS + 2)
    if spy.wait() != 0:
        sys.exit("py-spy could not look into the process: it may need root, or ptrace allowed.")
    if not target:
        print("\n".join(_report(raw.read_text().splitlines())))


def _report(stacks: Iterable[str]) -> list[str]:
    """Return the shares of the samples in the event loop's thread."""
    own: Counter[str] = Counter()
    with_callees: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if "Thread._bootstrap" in stack:
            continue
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            with_callees[frame] += int(count)
    shown = [
        f"{of_own / total:>7.1%} {with_callees[frame] / total:>7.1%}  {frame}"
        for frame, of_own in own.most_common(SHOWN)
    ]
    return ["    own   with callees", *shown]


if __name__ == "__main__":
    main()
