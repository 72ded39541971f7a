"""nginx and Caddy as `deploy/` has them, in front of a gateway: HTTP/2, streams, who calls."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import aiohttp.abc
import pytest
import trustme
from aiohttp import web

from gateway.domain.keys.key import Key
from gateway.domain.policies.snapshot import Upstream
from tests.deploy.programs import DEPLOY, PATIENCE, replaced, run, started
from tests.flows.conftest import world
from tests.flows.world import World, listening
from tests.needed import program

__all__ = ["world"]

NAME = "gateway.example.com"


def nginx(gateway: str, port: int, folder: Path) -> list[str]:
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    places = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:8080": gateway,
        "/etc/nginx/tls": str(folder),
        "/var/log/nginx": str(folder),
    }
    (folder / "nginx.conf").write_text(replaced(text, places))
    own = f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;"
    command = [program("nginx", "Debian: nginx"), "-e", f"{folder}/error.log"]
    command += ["-c", f"{folder}/nginx.conf", "-g", own]
    run(*command, "-t")
    return command


def caddy(gateway: str, port: int, folder: Path) -> list[str]:
    text = (DEPLOY / "caddy" / "Caddyfile").read_text()
    places = {
        f"{NAME}:443": f"{NAME}:{port}",
        "127.0.0.1:8080": gateway,
        "/etc/caddy/tls": str(folder),
    }
    (folder / "Caddyfile").write_text(replaced(text, places))
    words = ["--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]
    command = program("caddy", "Debian: caddy")
    run(command, "validate", *words)
    return [command, "run", *words]


@dataclass
class Front:
    port: int
    folder: Path
    key: Key

    def curl(self, path: str, *more: str) -> list[str]:
        return [
            *(program("curl", "Debian: curl"), "--silent", "--no-buffer", "--http2"),
            *("--cacert", f"{self.folder}/ca.pem", "--resolve", f"{NAME}:{self.port}:127.0.0.1"),
            *("-H", f"Authorization: Bearer {self.key.text}", *more),
            f"https://{NAME}:{self.port}{path}",
        ]

    async def asked(self, path: str, *more: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.curl(path, *more), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return out.decode()


@dataclass
class Agent:
    """Sends an event, and another one once `go_on` is set."""

    go_on: asyncio.Event

    async def events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: one\n\n")
        await self.go_on.wait()
        await answer.write(b"data: two\n\n")
        return answer

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket


@pytest.fixture
async def agent(world: World) -> AsyncIterator[Agent]:
    made = Agent(asyncio.Event())
    app = web.Application()
    app.router.add_get("/events", made.events)
    app.router.add_get("/socket", made.socket)
    async with listening(app) as port:
        slow = world.agent("slow", upstream=Upstream("http", "127.0.0.1", port))
        world.serve(world.agent(), slow)
        trusted = (ip_network("127.0.0.1/32"),)
        world.policies = replace(world.policies, trusted_proxies=trusted)
        yield made


Starting = Callable[[str, int, Path], list[str]]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
async def front(
    request: pytest.FixtureRequest,
    world: World,
    agent: Agent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Front]:
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    starting: Starting = request.param
    command = starting("{}:{}".format(*world.address), port, tmp_path)
    async with started(command, port):
        yield Front(port, tmp_path, await world.issue())


async def test_callers_speak_http_2_and_the_agent_learns_who_they_are(
    front: Front, world: World
) -> None:
    lies = ("-H", "X-Forwarded-For: 6.6.6.6", "-H", "Forwarded: for=6.6.6.6")
    path = "/agents/echo/a%20b/c?d=%20e"
    said = await front.asked(
        path, "--interface", "127.0.0.2", "--data", "hello", *lies, "-w", "\n%{http_version}"
    )
    told, version = said.rsplit("\n", 1)
    received = json.loads(told)
    assert version == "2"
    assert (received["path"], received["body"]) == ("/a%20b/c?d=%20e", "hello")
    headers = {name.lower(): value for name, value in received["headers"]}
    assert headers["x-forwarded-for"].split(", ")[0] == "127.0.0.2"
    assert "6.6.6.6" not in json.dumps(headers)
    assert headers["x-forwarded-proto"].split(", ")[0] == "https"
    assert headers["x-gateway-consumer"] == "sales"


async def test_an_event_is_there_before_the_next_one_is_made(front: Front, agent: Agent) -> None:
    process = await asyncio.create_subprocess_exec(
        *front.curl("/agents/slow/events", "-w", "%{http_version}"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await process.stdout.readuntil(b"\n\n") == b"data: one\n\n"
        agent.go_on.set()
        assert await process.stdout.read() == b"data: two\n\n2"
        await process.wait()


async def test_what_opens_a_users_link_is_in_no_log(front: Front) -> None:
    token = "T0ken" * 6
    for path in (f"/connect/{token}", f"/connect/%54{token[1:]}?x", "/livez"):
        await front.asked(path)
    written = [file.read_text() for file in front.folder.rglob("*.log")]
    assert token not in "".join(written)


async def test_a_websocket_passes(front: Front) -> None:
    context = ssl.create_default_context(cafile=str(front.folder / "ca.pem"))
    headers = {"Authorization": f"Bearer {front.key.text}"}
    connector = aiohttp.TCPConnector(resolver=Here())
    url = f"https://{NAME}:{front.port}/agents/slow/socket"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(url, headers=headers, ssl=context) as socket,
    ):
        await socket.send_str("hello")
        assert (await socket.receive(timeout=PATIENCE)).data == "hello"


class Here(aiohttp.abc.AbstractResolver):
    """Every name means this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: int = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None: ...
