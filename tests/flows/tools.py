"""Tools for tests: a real MCP server in a process of its own, the official client, and raw MCP."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from gateway.domain.children import Isolation
from gateway.domain.keys.key import Key
from gateway.services.tools.program_vet import ProgramVet
from tests.children.programs import python
from tests.flows.services import keep, put
from tests.flows.world import Answer, World
from tests.services.vaults import Vault

ROOT = Path(__file__).parents[2]
TOKEN = "ghp_5ecret/With+a?few&odd<characters>'\"~x"
BOTH = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LEGACY = "2025-11-25"
MODERN = "2026-07-28"


@dataclass
class Servers:
    """Ports of the same server: one that answers with events, one that answers with JSON."""

    events: int
    json: int

    def url(self, kind: str = "events") -> str:
        return f"http://127.0.0.1:{getattr(self, kind)}/mcp"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    command = [sys.executable, "-m", "tests.flows.mcp_server"]
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=silent) as process:
        try:
            assert process.stdout is not None
            yield Servers(*map(int, process.stdout.readline().split()))
        finally:
            process.kill()


def tools(url: str, **fields: object) -> str:
    """A policy file with one server of tools, `fc`; JSON is YAML."""
    section = json.dumps({"transport": "http", "upstream": url, **fields})
    return f"version: 1\ntools:\n  fc: {section}\n"


BEARER = {"headers": {"Authorization": "Bearer ${user.github.value}"}}


def put_tools(world: World, url: str, **fields: object) -> None:
    fields.setdefault("inject", BEARER)
    put(world, tools(url, **fields))


@pytest.fixture
async def vault(world: World, servers: Servers) -> Vault:
    """Two users with a credential each, and the server that answers with JSON."""
    made = Vault(world.client)
    for user in ("u1", "u2"):
        await keep(world, made, f"user/{user}/github", "api_key", value=TOKEN + user)
    put_tools(world, servers.url("json"))
    return made


async def key_of_u1(world: World) -> Key:
    """A key that may act for the user `u1`, who has brought a credential."""
    await keep(world, Vault(world.client), "user/u1/github", "api_key", value=TOKEN)
    return await world.issue("tools/fc", users=("u1",))


@asynccontextmanager
async def client(
    world: World, key: Key, user: str = "u1", mode: str = "auto", **more: Any
) -> AsyncIterator[Client]:
    """The official client, which has a key, names a user, and knows nothing of a gateway."""
    headers = {"Authorization": f"Bearer {key.text}", "X-User-Id": user}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{world.url}/tools/fc/mcp", http_client=http)
        async with Client(transport, mode=mode, **more) as made:
            yield made


async def send(
    world: World,
    key: Key | None,
    message: Any,
    user: str | None = "u1",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    gateway: int = 0,
) -> Answer:
    """One request as bytes: `message` as JSON, or as it stands."""
    sent = {**BOTH, **({"X-User-Id": user} if user else {}), **(headers or {})}
    body = message if isinstance(message, bytes | None) else json.dumps(message).encode()
    return await world.call(key, "/tools/fc/mcp", method, sent, body, gateway)


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return request("tools/call", name=tool, arguments=arguments)


def modern(method: str = "tools/list", **params: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return request(method, _meta=meta, **params)


def headed(method: str, name: str = "", version: str = MODERN) -> dict[str, str]:
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": method}
    return {**headers, "Mcp-Name": name} if name else headers


def hello() -> dict[str, Any]:
    about = {"name": "test", "version": "1"}
    return request("initialize", protocolVersion=LEGACY, capabilities={}, clientInfo=about)


def said(answer: Answer) -> Any:
    """The last message of an answer, whether it came as JSON or as events."""
    if answer.headers["Content-Type"].startswith("application/json"):
        return answer.json
    return messages(answer)[-1]


def text(result: Any) -> str:
    """What a tool said, as the official client has it."""
    assert isinstance(result, CallToolResult)
    return "".join(one.text for one in result.content if isinstance(one, TextContent))


def messages(answer: Answer) -> list[Any]:
    lines = answer.body.decode().splitlines()
    data = (line.removeprefix("data:").strip() for line in lines if line.startswith("data:"))
    return [json.loads(line) for line in data if line]


def event_ids(answer: Answer) -> list[str]:
    lines = answer.body.decode().splitlines()
    return [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]


async def opened(world: World, key: Key, user: str = "u1", gateway: int = 0) -> dict[str, str]:
    """A session of this key and user, as the headers that are part of it."""
    answer = await send(world, key, hello(), user, gateway=gateway)
    assert answer.status == 200, answer.body
    headers = {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": LEGACY}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await send(world, key, ready, user, headers, gateway=gateway)).status == 202
    return headers


def error(answer: Answer) -> dict[str, Any]:
    """The JSON-RPC error of a refusal, whose `data` is the object that any refusal has."""
    told = answer.json
    assert told["jsonrpc"] == "2.0" and "result" not in told
    inner = told["error"]["data"]
    assert inner["type"] == "error" and inner["request_id"] == answer.headers["X-Request-Id"]
    assert inner["error"]["message"] == told["error"]["message"]
    return {**told["error"], "id": told["id"]}


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, error(answer)["data"]["error"]["code"]


SERVER = Path(__file__).parents[1] / "services" / "mcp_program.py"


ENV = {"env": {"TOKEN": "${user.github.value}"}}


async def serve(world: World, **section: object) -> None:
    """One server of tools, `fc`, as the file of an operator would name it."""
    put(world, f"version: 1\ntools:\n  fc: {json.dumps({'inject': ENV, **section})}\n")
    for gateway in world.gateways:
        vet: ProgramVet = gateway.programs.vet
        gateway.programs.launcher.isolation = gateway.programs.launcher.isolation or Isolation.NONE
        assert await vet.problems(world.policies) == ()


async def serve_stdio(world: World, *more: str, **section: object) -> None:
    await serve(world, transport="stdio", command=[python(), str(SERVER), *more], **section)
