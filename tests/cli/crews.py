"""Several workers under one supervisor, as they run in production."""

import asyncio
import os
import signal
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from aiohttp import web
from redis.asyncio import Redis

from gateway.crypto.tags import Peppers
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.store.keys import KeyStore
from tests.cli.commands import MASTER
from tests.cli.serving import PATIENCE, Connection, Served, serving
from tests.flows.many_keys import cheap_key
from tests.flows.world import PEPPER, listening


@dataclass
class SlowAgent:
    """An agent that answers `/quick` at once and everything else when `go_on` is set."""

    port: int = 0
    running: int = 0
    most: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def quick(self, request: web.Request) -> web.Response:
        return web.Response(text="quick")

    async def slow(self, request: web.Request) -> web.Response:
        self.running += 1
        self.most = max(self.most, self.running)
        self.arrived.set()
        await self.go_on.wait()
        self.running -= 1
        return web.Response(text="finished")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: one\n\n")
        await self.go_on.wait()
        return answer


@asynccontextmanager
async def slow_agent() -> AsyncIterator[SlowAgent]:
    agent = SlowAgent()
    app = web.Application()
    app.router.add_get("/quick", agent.quick)
    app.router.add_get("/stream", agent.stream)
    app.router.add_get("/{path:.*}", agent.slow)
    async with listening(app) as agent.port:
        yield agent
        agent.go_on.set()


async def issue(client: Redis, **fields: str) -> Key:
    """A new key, as the command line would make it."""
    wanted = KeyFields(scopes=("agents/*",), consumer="sales", **fields)
    return await cheap_key(KeyStore(client, "gw:"), Peppers((PEPPER,)), wanted)


@dataclass
class Crew:
    """A gateway with several workers, whose process ids are `pids`."""

    served: Served
    pids: list[int]

    async def next_pid(self) -> int:
        """That of the next worker that comes to serve."""
        self.pids.append((await self.served.event("worker_ready"))["worker"])
        return self.pids[-1]

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Nobody but this worker runs."""
        others = [other for other in self.pids if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    async def connect_to(self, pid: int, *, admin: bool = False) -> Connection:
        """A connection that this worker has accepted."""
        with self.only(pid):
            connection = await self.served.connect(admin=admin)
            # Accepted is what has answered.
            await connection.get("/livez")
            return connection


@asynccontextmanager
async def crew(
    *arguments: str, workers: int, folder: Path, settings: Mapping[str, str]
) -> AsyncIterator[Crew]:
    """`gateway serve --workers N`, all of them serving; nothing of it is left at the end."""
    more = ("--workers", str(workers), *arguments)
    own = {**settings, "TMPDIR": str(folder)}
    async with serving(*more, folder=folder, settings=own) as served:
        made = Crew(served, _ready(served))
        try:
            while len(made.pids) < workers:
                await made.next_pid()
            yield made
        finally:
            # The supervisor first, which would fill their places.
            if served.process.returncode is None:
                served.stop(signal.SIGKILL)
            for pid in _ready(served):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await _until_nobody_writes(served)


@asynccontextmanager
async def vault_crew(
    store: StoreSettings, *, workers: int, folder: Path, **settings: str
) -> AsyncIterator[Crew]:
    """A crew for what agents pull: no agent of its own answers."""
    (folder / "policies").mkdir()
    text = "version: 1\nagents: {a: {upstream: 'http://127.0.0.1:9'}}\n"
    (folder / "policies" / "a.yaml").write_text(text)
    own = {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        "GATEWAY_MASTER_KEY": MASTER,
        "GATEWAY_ACCESS_LOG": "off",
    }
    async with crew(workers=workers, folder=folder, settings={**own, **settings}) as made:
        yield made


async def _until_nobody_writes(served: Served) -> None:
    assert served.process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        await served.process.stdout.read()


def _ready(served: Served) -> list[int]:
    return [event["worker"] for event in served.events if event["event"] == "worker_ready"]


async def gone(pid: int) -> None:
    """Wait until there is no such process."""
    async with asyncio.timeout(PATIENCE):
        while alive(pid):
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Load:
    """Callers that each ask up to a hundred times a second, until `enough` is set: no moment of a
    change goes unseen, and processes that start have processor time left.

    `others`: keys that take their turns with `key`. `keeps`: they keep their connections; else
    each request is on one of its own.
    """

    served: Served
    key: str
    others: Sequence[str] = ()
    keeps: bool = True
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[None]:
        self._keys = cycle((self.key, *self.others))
        tasks = [asyncio.create_task(self._call_on()) for _ in range(callers)]
        try:
            yield
        finally:
            self.enough.set()
            await asyncio.gather(*tasks)

    async def _call_on(self) -> None:
        while not self.enough.is_set():
            try:
                await self._one_connection()
            except (OSError, asyncio.IncompleteReadError) as problem:
                self.failed.append(repr(problem))

    async def _one_connection(self) -> None:
        connection = Connection(*await asyncio.open_connection(*self.served.data))
        try:
            while not self.enough.is_set():
                answer = await connection.get("/agents/a/quick", next(self._keys))
                self.answered += 1
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {answer.body!r}")
                await asyncio.sleep(0.01)
                if not self.keeps or answer.headers.get("Connection") == "close":
                    return
        finally:
            connection.writer.close()
