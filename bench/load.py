"""Load by wrk: one case against one address, and what wrk says of it."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
HINT = "wrk is missing: apt-get install wrk, or brew install wrk"


class LoadError(Exception):
    """A run that shows nothing: the wrong answers, or none."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked for. `body`: bytes sent with it. `streams`: see `bench/backend.py`."""

    name: str
    title: str
    path: str
    connections: int = 32
    method: str = "GET"
    body: int = 0
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What one run came to: `seconds` and `p99_ms` as wrk saw them."""

    requests: int
    seconds: float
    p99_ms: float


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def run(case: Case, base: str, key: str, seconds: int) -> Load:
    """LoadError if a single answer was not what was asked for."""
    said = subprocess.run(
        [
            "wrk",
            "--threads=1",
            f"--connections={case.connections}",
            f"--duration={seconds}s",
            "--timeout=10s",
            f"--script={SCRIPT}",
            f"--header=Authorization: Bearer {key}",
            base + case.path,
            "--",
            case.method,
            str(case.body),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise LoadError(f"wrk failed: {said.stderr.strip()}")
    told = json.loads(said.stdout.rstrip().splitlines()[-1])
    # A short run may cut every stream before its end.
    if told["errors"] or not (told["requests"] or case.streams):
        raise LoadError(f"{case.title}: {told['errors']} errors in {told['requests']} requests")
    return Load(told["requests"], told["seconds"], told["p99_ms"])
