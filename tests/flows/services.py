"""Services for tests: a real backend that keeps all that arrived, and policies as written."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.domain.credentials import Version, parse_id
from tests.flows.world import World, listening
from tests.protocol.policy.files import read
from tests.services.vaults import Vault

Answering = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Arrived:
    """A request as the backend got it, headers by lower-case name in the order of their lines."""

    method: str
    path: str
    headers: dict[str, list[str]]
    body: bytes


@dataclass
class Backend:
    """`answer` may be replaced at any time."""

    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    answer: Answering | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Arrived:
        return self.arrived[-1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers: dict[str, list[str]] = {}
        for name, value in request.raw_headers:
            headers.setdefault(name.decode().lower(), []).append(value.decode("latin-1"))
        self.arrived.append(Arrived(request.method, request.raw_path, headers, body))
        if self.answer is not None:
            return await self.answer(request, body)
        return web.json_response({"fine": True})


@asynccontextmanager
async def backend() -> AsyncIterator[Backend]:
    made = Backend()
    app = web.Application(client_max_size=2**40)
    app.router.add_route("*", "/{path:.*}", made._handle)
    async with listening(app) as port:
        made.port = port
        yield made


def put(world: World, text: str) -> None:
    """These policies, as a file would say them, into force."""
    world.policies = read(text)


def service(backend: Backend, **fields: object) -> str:
    """A policy file with one service, `crm`; JSON is YAML."""
    return f"version: 1\nservices:\n  crm: {json.dumps({'upstream': backend.url, **fields})}\n"


async def keep(
    world: World, vault: Vault, name: str, type_name: str, number: int = 1, **fields: str
) -> None:
    """Write a credential and wait until the gateway has it in memory."""
    await vault.write(name, number, type=type_name, current=Version(number, fields))
    await seen(world, str(parse_id(name)), number)


async def seen(world: World, name: str, version: int = 1) -> None:
    """Until the gateway has this version in memory."""
    async with asyncio.timeout(10):
        while True:
            known = world.gateways[0].base.credentials.known
            found = next((one for i, one in known.items() if str(i) == name), None)
            if found is not None and found.current.number >= version:
                return
            await asyncio.sleep(0.02)
