"""What is measured: each peer stands in front of the same backend and is asked the same things.

A new one is a function that starts it, and a line in `PEERS`.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import Cores, pin

GATEWAY = (sys.executable, "-m", "gateway")
START_SECONDS = 20.0

_POLICIES = """\
version: 1
agents:
  bench:
    upstream: http://127.0.0.1:{backend}
    routes:
      - {{path: /health, methods: [GET], public: true}}
      - {{path: /chat, methods: [POST], action: chat}}
      - {{path: /files/**, action: files}}
      - {{path: /*, methods: [GET, POST], action: ask}}
plans:
  bench:
    rate: 1000000/s
    burst: 1000000
    quota: [1000000000/d, 1000000000/month]
"""

_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  upstream backend {{
    server 127.0.0.1:{backend};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
      proxy_request_buffering off;
    }}
  }}
}}
"""


class MissingError(Exception):
    """A peer that cannot be had here; `str()` says what to install."""


@dataclass(slots=True)
class Site:
    """Where the peers run. `state`: the directory of the store that runs already."""

    folder: Path
    state: Path
    cores: Cores
    stack: ExitStack
    backend: int = field(default=0)

    def spawn(self, name: str, command: Sequence[str], *, measured: bool = True) -> int:
        """Start a process on the core it belongs to; it ends with the stack. Its pid."""
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        pin(self.cores.measured if measured else self.cores.others)
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        pin(self.cores.others)
        self.stack.callback(_end, process)
        return process.pid

    def await_port(self, name: str, port: int) -> None:
        self._await(name, lambda: _connects(port))

    def await_ready(self, name: str, url: str) -> None:
        self._await(name, lambda: _is_ok(url))

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        ends = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > ends:
                said = (self.folder / f"{name}.log").read_text(errors="replace")
                raise SystemExit(f"{name} did not start:\n{said}")
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that answers: its process and what stands before a case's path."""

    name: str
    pid: int
    base: str


def start_backend(site: Site) -> None:
    site.backend = free_port()
    command = [sys.executable, "-m", "bench.backend", str(site.backend)]
    site.spawn("backend", command, measured=False)
    site.await_port("backend", site.backend)


def make_key(site: Site) -> str:
    """A key for the agent, with limits that are checked and charged and never reached."""
    policies = site.folder / "policies"
    policies.mkdir()
    (policies / "bench.yaml").write_text(_POLICIES.format(backend=site.backend))
    said = subprocess.run(
        [
            *(*GATEWAY, "keys", "create", "--consumer", "bench", "--plan", "bench", "--json"),
            *("--scope", "agents/bench", "--policies", str(policies)),
            *("--state-dir", str(site.state)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise SystemExit(f"No key could be made:\n{said.stderr}")
    return str(json.loads(said.stdout)["key"])


def start_gateway(site: Site) -> Running:
    data, admin = free_port(), free_port()
    command = [
        *(*GATEWAY, "serve", "--policies", str(site.folder / "policies")),
        *("--state-dir", str(site.state)),
        *("--listen", f"127.0.0.1:{data}", "--admin-listen", f"127.0.0.1:{admin}"),
        *("--access-log", str(site.folder / "access.log")),
    ]
    pid = site.spawn("gateway", command)
    site.await_ready("gateway", f"http://127.0.0.1:{data}/readyz")
    return Running("gateway", pid, f"http://127.0.0.1:{data}/agents/bench")


def start_passthrough(site: Site) -> Running:
    port = free_port()
    upstream = f"http://127.0.0.1:{site.backend}"
    command = [sys.executable, "-m", "bench.passthrough", str(port), upstream]
    pid = site.spawn("passthrough", command)
    site.await_port("passthrough", port)
    return Running("passthrough", pid, f"http://127.0.0.1:{port}")


def start_nginx(site: Site) -> Running:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise MissingError("apt-get install nginx-light")
    port = free_port()
    config = site.folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=site.folder, backend=site.backend, port=port))
    pid = site.spawn("nginx", [program, "-p", str(site.folder), "-c", str(config)])
    site.await_port("nginx", port)
    return Running("nginx", pid, f"http://127.0.0.1:{port}")


Start = Callable[[Site], Running]
PEERS: dict[str, Start] = {
    "gateway": start_gateway,
    "passthrough": start_passthrough,
    "nginx": start_nginx,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connects(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
