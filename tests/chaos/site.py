"""Two gateways of several workers each on one Redis, before one agent: all of it real processes,
but for the agent."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.crypto.tags import Peppers
from gateway.domain.keys.key import Key
from tests.chaos.calls import Load
from tests.cli.crews import Crew, crew
from tests.cli.serving import environment
from tests.flows.many_keys import many_keys
from tests.flows.own_store import OwnStore, own_store
from tests.flows.world import MASTER, PEPPER, listening

PEPPERS = Peppers((PEPPER,))
GATEWAYS = 2
POLICIES = """\
version: 1
agents:
  a: {{upstream: 'http://127.0.0.1:{port}'}}
plans:
  here: {{agents: {{a: {{quota: {quota}/month}}}}}}
"""


class Agent:
    """Counts what reaches it, and holds `/slow` for a moment, `/held` until `go_on`."""

    def __init__(self) -> None:
        self.reached = 0
        self.under_way = 0
        self.most = 0
        self.go_on = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/quick", self.quick)
        self.app.router.add_get("/slow", self.slow)
        self.app.router.add_get("/held", self.held)
        self.app.router.add_get("/ticks", self.ticks)

    async def quick(self, request: web.Request) -> web.Response:
        self.reached += 1
        return web.Response(text="quick")

    async def slow(self, request: web.Request) -> web.Response:
        self.reached += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.02)
        self.under_way -= 1
        return web.Response(text="slow")

    async def held(self, request: web.Request) -> web.Response:
        self.reached += 1
        await self.go_on.wait()
        return web.Response(text="held")

    async def ticks(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        with suppress(ConnectionError):
            while True:
                await answer.write(b"data: tick\n\n")
                await asyncio.sleep(0.1)
        return answer


@dataclass
class Gateway:
    """One `gateway serve --workers N`. `strange`: what it said that is no event."""

    crew: Crew
    strange: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return self.crew.served.data

    @property
    def pids(self) -> list[int]:
        """Of the workers that run, those that drain included."""
        pid = self.crew.served.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def listen(self) -> None:
        """Keep what it says: nobody may have to wait for a reader."""
        served = self.crew.served
        assert served.process.stderr is not None
        async for line in served.process.stderr:
            try:
                served.events.append(json.loads(line))
            except ValueError:
                self.strange.append(line.decode(errors="replace").rstrip())

    def said(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.crew.served.events if event["event"] == name]

    async def says(self, name: str, times: int) -> None:
        """Wait until it has said this so often since it started."""
        while len(self.said(name)) < times:
            await asyncio.sleep(0.05)

    async def roll(self) -> None:
        done = len(self.said("rolling_restart_done"))
        self.crew.served.stop(signal.SIGUSR2)
        await self.says("rolling_restart_done", done + 1)

    async def argon2_runs(self) -> int:
        answer = await self.crew.served.get("/metrics", admin=True)
        found = re.findall(r"^gateway_argon2_runs_total (\S+)$", answer.body.decode(), re.MULTILINE)
        return int(float(found[0]))


@dataclass
class Site:
    """`scale` stretches every scenario. `port`: the agent's."""

    folder: Path
    store: OwnStore
    agent: Agent
    gateways: list[Gateway]
    scale: float
    port: int

    def times(self, number: float) -> int:
        return max(1, round(number * self.scale))

    def load(self, keys: Sequence[Key], path: str = "/agents/a/quick", pause: float = 0.0) -> Load:
        turns = cycle([key.text for key in keys])
        addresses = [gateway.address for gateway in self.gateways]
        return Load(addresses, lambda: next(turns), path, pause)

    async def keys(self, count: int = 1, **fields: str) -> list[Key]:
        return await many_keys(self.store.client, count, PEPPERS, **fields)

    async def redis_cli(self, *words: str) -> str:
        """As an operator types it: when this returns, redis-cli has."""
        command = ("redis-cli", "-s", str(self.store.socket), *words)
        return await run(command, dict(os.environ))

    async def command(self, *words: str, said: str = "") -> Any:
        """`gateway WORDS --json`, with `said` on its stdin."""
        settings = self.settings()
        command = (sys.executable, "-m", "gateway", *words, "--json")
        return json.loads(await run(command, environment(**settings), said))

    def settings(self) -> dict[str, str]:
        return {
            "GATEWAY_REDIS_URL": self.store.settings.url or "",
            "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
            "GATEWAY_MASTER_KEY": b64encode(MASTER).decode(),
            "GATEWAY_POLICIES": str(self.folder / "policies"),
            "GATEWAY_ACCESS_LOG": "off",
            "GATEWAY_LOG_FORMAT": "json",
        }

    def strange(self) -> list[str]:
        return [line for gateway in self.gateways for line in gateway.strange]


async def run(command: Sequence[str], settings: dict[str, str], said: str = "") -> str:
    pipe = asyncio.subprocess.PIPE
    stdin = pipe if said else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, env=settings, stdin=stdin, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate(said.encode() if said else None)
    if process.returncode:
        raise RuntimeError(f"{command[:4]} failed: {err.decode()}")
    return out.decode().strip()


@asynccontextmanager
async def site(
    folder: Path,
    *,
    workers: int,
    gateways: int = GATEWAYS,
    scale: float,
    quota: int = 1000,
    agent: Agent | None = None,
    prepare: Callable[["Site"], Awaitable[None]] | None = None,
) -> AsyncIterator[Site]:
    """All of it runs; nothing of it is left at the end. `prepare`: what has to be there before a
    gateway starts."""
    async with AsyncExitStack() as stack:
        agent = agent or Agent()
        port = await stack.enter_async_context(listening(agent.app))
        store = await stack.enter_async_context(own_store())
        (folder / "policies").mkdir(parents=True)
        (folder / "policies" / "a.yaml").write_text(POLICIES.format(port=port, quota=quota))
        made = Site(folder, store, agent, [], scale, port)
        if prepare is not None:
            await prepare(made)
        for _ in range(gateways):
            opened = crew(workers=workers, folder=folder, settings=made.settings())
            gateway = Gateway(await stack.enter_async_context(opened))
            made.gateways.append(gateway)
            stack.push_async_callback(_stopped, gateway, asyncio.create_task(gateway.listen()))
        yield made


async def _stopped(gateway: Gateway, listening: "asyncio.Task[None]") -> None:
    gateway.crew.served.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(15):
            await gateway.crew.served.process.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def setting(name: str, default: float) -> float:
    """A number from the environment."""
    return float(os.environ.get(name) or default)


def missing_tools() -> str:
    return "" if shutil.which("redis-cli") else "redis-cli is missing: apt-get install redis-tools"
