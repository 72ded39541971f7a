"""A whole gateway in this process: real sockets, a real store, a real agent, real keys."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
from aiohttp import web
from multidict import MultiMapping
from redis.asyncio import Redis

from gateway.app import Gateway, open_gateway
from gateway.crypto.draw import draw
from gateway.crypto.tags import Peppers
from gateway.domain.audit.settings import AuditSettings
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.key import Key
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Agent, Policies, Upstream
from gateway.domain.settings import (
    AccessLogSettings,
    Address,
    ListenerLimits,
    ServerTls,
    Settings,
    StoreSettings,
    VaultSettings,
)
from gateway.protocol.policy.read import Loaded
from gateway.services.keys.issue import Issuer
from gateway.services.policies.reload import LivePolicies
from gateway.store.keys import KeyStore
from tests.flows.many_keys import cheap_key

PEPPER = b"p" * 32
MASTER = b"m" * 32


@dataclass
class Answer:
    """A whole answer; `json` of the echo agent says what it received."""

    status: int
    headers: MultiMapping[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    @property
    def received(self) -> dict[str, list[str]]:
        """The headers that the agent got, by lower-case name."""
        found: dict[str, list[str]] = {}
        for name, value in self.json["headers"]:
            found.setdefault(name.lower(), []).append(value)
        return found


@dataclass
class World:
    """`policies` may be replaced at any time; the next request sees the new ones. `live`: where
    they come from instead, if they are read from files."""

    store: StoreSettings
    client: Redis
    session: aiohttp.ClientSession
    policies: Policies = field(default_factory=Policies)
    peppers: tuple[bytes, ...] = (PEPPER,)
    limits: ListenerLimits = field(default_factory=ListenerLimits)
    drain: float = 5.0
    store_timeout: float = 2.0
    admin_listen: Address = field(default_factory=lambda: Address("127.0.0.1", 0))
    access_log: AccessLogSettings | None = None
    tls: ServerTls | None = None
    stream_unchecked: float = 60.0
    vault: VaultSettings = field(default_factory=lambda: VaultSettings(None, (MASTER,), 0.1))
    live: LivePolicies | None = None
    audit: AuditSettings = field(default_factory=AuditSettings)
    traces: bool = False
    problems: tuple[Problem, ...] = ()
    agent_port: int = 0
    gateways: list[Gateway] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.gateways[0].data.address}"

    @property
    def address(self) -> tuple[str, int]:
        address = self.gateways[0].data.address
        return address.host, address.port

    @property
    def current(self) -> Policies:
        return self.policies

    async def candidate(self) -> Loaded:
        """As if files said what is in force."""
        return Loaded(self.policies)

    async def reload(self, reason: str) -> Loaded:
        return await self.candidate()

    def serve(self, *agents: Agent, plans: Mapping[str, Plan] | None = None, **rest: Any) -> None:
        """Put these agents and plans into force."""
        by_name = MappingProxyType({agent.name: agent for agent in agents})
        self.policies = Policies("test", by_name, MappingProxyType(dict(plans or {})), **rest)

    def agent(self, name: str = "echo", **fields: Any) -> Agent:
        upstream = fields.pop("upstream", Upstream("http", "127.0.0.1", self.agent_port))
        return Agent(name, fields.pop("upstreams", (upstream,)), **fields)

    async def issue(self, *scopes: str, **fields: Any) -> Key:
        """A new key, as the command line would make it."""
        fields.setdefault("consumer", "sales")
        wanted = KeyFields(scopes=scopes or ("agents/*",), **fields)
        keys, made_with = KeyStore(self.client, self.store.prefix), Peppers(self.peppers)
        if self.peppers:
            return await cheap_key(keys, made_with, wanted)
        return (await Issuer(keys, made_with, draw).create(wanted, "live", "test")).key

    def record(self, key: Key) -> str:
        return f"{self.store.prefix}key:{{{key.id}}}"

    async def call(
        self,
        key: Key | str | None,
        path: str = "/agents/echo/hello",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        gateway: int = 0,
    ) -> Answer:
        sent = dict(headers or {})
        if key is not None:
            text = key if isinstance(key, str) else key.text
            sent["Authorization"] = f"Bearer {text}"
        url = f"http://{self.gateways[gateway].data.address}{path}"
        async with self.session.request(method, url, headers=sent, data=data) as response:
            return Answer(response.status, response.headers, await response.read())


def peppers(world: World) -> Peppers:
    return Peppers(world.peppers)


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = [[name.decode(), value.decode("latin-1")] for name, value in request.raw_headers]
    told = {
        "method": request.method,
        "path": request.raw_path,
        "headers": headers,
        "length": len(body),
        "body": body[:1000].decode("latin-1"),
    }
    return web.json_response(told, headers={"X-Agent": "echo", "X-Request-Id": "the-agents-own"})


@asynccontextmanager
async def listening(app: web.Application, **how: Any) -> AsyncIterator[int]:
    """`app` on a free loopback port; `how`: as aiohttp's TCPSite takes it."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, **how)
        await site.start()
        server: Any = site._server
        yield server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def new_world(
    store: StoreSettings, client: Redis, *, gateways: int = 1, **fields: Any
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=2**40)
        app.router.add_route("*", "/{path:.*}", echo)
        port = await stack.enter_async_context(listening(app))
        jar = aiohttp.DummyCookieJar()
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        world = World(store, client, session, agent_port=port, **fields)
        world.serve(world.agent())
        settings = Settings(
            listen=Address("127.0.0.1", 0),
            admin_listen=world.admin_listen,
            policies=Path("unused"),
            store=replace(store, timeout=world.store_timeout),
            peppers=world.peppers,
            vault=world.vault,
            audit=world.audit,
            drain=world.drain,
            limits=world.limits,
            access_log=world.access_log,
            tls=world.tls,
            stream_unchecked=world.stream_unchecked,
            traces=world.traces,
        )
        for _ in range(gateways):
            opened = open_gateway(settings, world.live or world)
            world.gateways.append(await stack.enter_async_context(opened))
        yield world


def routes(*lines: tuple[str, str, str]) -> tuple[Route, ...]:
    return tuple(
        Route(*parse_path(path), action, frozenset(methods.split()))
        for path, methods, action in lines
    )


async def metrics(world: World) -> dict[str, float]:
    url = f"http://{world.gateways[0].admin.address}/metrics"
    async with world.session.get(url) as answer:
        assert answer.status == 200 and answer.headers["X-Request-Id"].startswith("req_")
        text = await answer.text()
    rows = re.findall(r"^(gateway_\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in rows}
