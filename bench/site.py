"""Where the peers run: their processes, cores, ports and files."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_bytes
from urllib.parse import urlsplit

from bench.machine import Cores, pin

CONFIGS = Path(__file__).with_name("configs")
START_SECONDS = 20.0
# Programs of this environment's packages, and those in directories outside a user's PATH on Debian.
_PLACES = (str(Path(sys.executable).parent), "/usr/sbin", "/usr/local/sbin")


class MissingError(Exception):
    """A peer is not installed; `str()` says what to install."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running peer: its process, and the URL before a case's path."""

    name: str
    pid: int
    base: str

    @property
    def origin(self) -> str:
        return self.base.removesuffix(self.path)

    @property
    def path(self) -> str:
        return urlsplit(self.base).path

    @property
    def port(self) -> int:
        return urlsplit(self.base).port or 80


@dataclass(slots=True)
class Site:
    """Where the peers run. `state`: the directory of the running store. `key`: the key of all
    requests."""

    folder: Path
    state: Path
    cores: Cores
    stack: ExitStack
    backend: int = 0
    key: str = field(default="", repr=False)

    def spawn(self, name: str, command: Sequence[str], *, measured: bool = True) -> int:
        """Start a process on its core and return its pid; it ends with the stack."""
        log = self.stack.enter_context((self.folder / f"{name}.log").open("ab"))
        pin(self.cores.measured if measured else self.cores.others)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        pin(self.cores.others)
        self.stack.callback(_end, process)
        return process.pid

    def await_port(self, name: str, port: int) -> None:
        self._await(name, lambda: _connects(port))

    def await_status(self, name: str, url: str, wanted: int) -> None:
        self._await(name, lambda: _status(url) == wanted)

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        ends = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > ends:
                said = (self.folder / f"{name}.log").read_text(errors="replace")
                raise SystemExit(f"{name} did not start:\n{said}")
            time.sleep(0.05)

    def config(self, template: str, port: int, **values: str) -> Path:
        """Make a file from a template in `configs/`, with every @name@ filled in."""
        text = (CONFIGS / template).read_text()
        values |= {"folder": str(self.folder), "port": str(port), "backend": str(self.backend)}
        for name, value in {**values, "key": self.key, "configs": str(CONFIGS)}.items():
            text = text.replace(f"@{name}@", value)
        stem, dot, suffix = template.partition(".")
        path = self.folder / f"{stem}-{port}{dot}{suffix}"
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    @property
    def pepper(self) -> Path:
        """The file with the pepper of all tags."""
        path = self.folder / "pepper"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(b64encode(token_bytes(32)) + b"\n")
        return path

    @contextmanager
    def shorter(self) -> Iterator["Site"]:
        """The same site, except that processes started in it end with this context."""
        with ExitStack() as stack:
            yield replace(self, stack=stack)


def program(name: str, hint: str) -> str:
    """Return the path of a program; MissingError with `hint` if there is none."""
    found = shutil.which(name) or shutil.which(name, path=":".join(_PLACES))
    if found is None:
        raise MissingError(hint)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_backend(site: Site) -> None:
    site.backend = free_port()
    command = [sys.executable, "-m", "bench.backend", str(site.backend)]
    site.spawn("backend", command, measured=False)
    site.await_port("backend", site.backend)


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except (urllib.error.URLError, OSError):
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
