"""Load on one address, by wrk or, for what wrk cannot do, by `asks.py`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.asks import Job
from bench.site import Running

SCRIPT = Path(__file__).with_name("wrk.lua")
HINT = "wrk is missing: apt-get install wrk, or brew install wrk"
# How far the share of refusals may deviate, because requests are drawn at random.
TOLERANCE = 0.05
SETTLE_SECONDS = 0.5


class LoadError(Exception):
    """A run with wrong answers, or without any."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is requested. `body`: the number of bytes sent; `text`: a file that is sent instead.
    `streams`: the answer is a stream of `bench/backend.py`.

    `mixed`: a file of requests to draw from, see `wrk.lua`; `refused`: the share of them that must
    be refused. `rate`: requests a second, kept regardless of the answers. `base`: the path before
    `path`, if it is not the peer's own.
    """

    name: str
    title: str
    path: str = "/1k"
    connections: int = 32
    method: str = "GET"
    body: int = 0
    streams: bool = False
    mixed: Path | None = None
    refused: float = 0.0
    rate: float = 0.0
    base: str = ""
    text: Path | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one run, as the client sees it."""

    requests: int
    per_second: float
    p99_ms: float


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def run(case: Case, peer: Running, key: str, seconds: float) -> Load:
    """Run a case against a peer; LoadError if a single answer was wrong."""
    if case.rate:
        return _paced(case, peer, key, seconds)
    return _by_wrk(case, peer, key, seconds)


def each_once(peer: Running, keys: Sequence[str], path: str = "/1k") -> Load:
    """Use each key once, as fast as 32 connections allow."""
    told = _ask(Job(peer.port, peer.path + path, list(keys)))
    return Load(len(keys), len(keys) / told["seconds"], told["p99_ms"])


def _paced(case: Case, peer: Running, key: str, seconds: float) -> Load:
    path = peer.path + case.path
    told = _ask(Job(peer.port, path, [key], case.connections, case.rate, seconds, SETTLE_SECONDS))
    # Every due request is sent in the end; a slow peer shows in the latencies.
    return Load(int(told["sent"]), told["sent"] / told["seconds"], told["p99_ms"])


def _ask(job: Job) -> dict[str, float]:
    said = subprocess.run(
        [sys.executable, "-m", "bench.asks"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise LoadError(f"{job.path}: {said.stderr.strip()}")
    told: dict[str, float] = json.loads(said.stdout)
    return told


def _by_wrk(case: Case, peer: Running, key: str, seconds: float) -> Load:
    said = subprocess.run(
        [
            *("wrk", "--threads=1", f"--connections={case.connections}"),
            *(f"--duration={max(1, round(seconds))}s", "--timeout=10s", f"--script={SCRIPT}"),
            *(
                f"--header=Authorization: Bearer {key}",
                peer.origin + (case.base or peer.path) + case.path,
            ),
            *("--", case.method, str(case.text or case.body)),
            *([str(case.mixed)] if case.mixed else []),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise LoadError(f"wrk failed: {said.stderr.strip()}")
    told = json.loads(said.stdout.rstrip().splitlines()[-1])
    refused = told["refused"] / max(1, told["requests"])
    # A short run may cut every stream before its end.
    if told["broken"] or not (told["requests"] or case.streams):
        raise LoadError(
            f"{case.title}: {peer.name} broke {told['broken']} of {told['requests']} requests"
        )
    if abs(refused - case.refused) > (TOLERANCE if case.refused else 0):
        raise LoadError(f"{case.title}: {peer.name} refused {refused:.1%} of the requests")
    return Load(told["requests"], told["requests"] / told["seconds"], told["p99_ms"])
