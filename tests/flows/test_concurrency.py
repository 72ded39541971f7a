"""How many requests of a key are under way at a time: exactly, and never leaked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from aiohttp import web
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from gateway.domain.errors import Code
from gateway.domain.keys.limits import Concurrency, Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Upstream
from gateway.domain.settings import StoreSettings
from gateway.proxy import outbox
from gateway.proxy.outbox import MOST, Outbox
from gateway.services.admission import leases
from tests.flows.agents import Serve, agent_that
from tests.flows.refusals import check
from tests.flows.world import Answer, World, listening, new_world

PATIENCE = 10.0


class Agent:
    """Holds every request until it is told to let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self.hold)

    async def hold(self, request: web.Request) -> web.Response:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.let_go.wait()
        finally:
            self.under_way -= 1
        return web.Response(text="done")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.under_way != count:
                await asyncio.sleep(0.01)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    yield Agent()


@pytest.fixture
async def busy(store: StoreSettings, client: Redis, agent: Agent) -> AsyncIterator[World]:
    """Two gateways in front of one agent; the plan `three` lets three requests in at a time."""
    async with new_world(store, client, gateways=2) as world, listening(agent.app) as port:
        upstream = Upstream("http", "127.0.0.1", port)
        plans = {
            "three": Plan("three", Limits(concurrency=Concurrency(3))),
            "one-here": Plan(
                "one-here",
                Limits(concurrency=Concurrency(3)),
                {"echo": Limits(concurrency=Concurrency(1))},
            ),
            "day": Plan("day", Limits(quotas=(Quota(2, Window.DAY),), concurrency=Concurrency(1))),
        }
        world.serve(world.agent(upstream=upstream), plans=plans)
        yield world


async def places(world: World, key_id: str) -> int:
    return int(await world.client.zcard(f"gw:lease:{{{key_id}}}"))


async def empty(world: World, key_id: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await places(world, key_id):
            await asyncio.sleep(0.005)


@pytest.mark.denial("concurrency_limited")
async def test_no_more_than_the_limit_are_under_way_over_all_gateways(
    busy: World, agent: Agent
) -> None:
    key = await busy.issue(plan="three")
    calls = [asyncio.create_task(busy.call(key, gateway=i % 2)) for i in range(20)]
    await agent.until(3)
    refused: list[Answer] = []
    async with asyncio.timeout(PATIENCE):
        for done in asyncio.as_completed(calls):
            refused.append(await done)
            if len(refused) == 17:
                break
    for answer in refused:
        check(answer, Code.CONCURRENCY_LIMITED)
        assert answer.headers["Retry-After"] == "1"
        assert answer.json["error"]["limit"] == "concurrency"
        assert "RateLimit" not in answer.headers
    agent.let_go.set()
    rest = [await call for call in calls]
    assert sum(answer.status == 200 for answer in rest) == 3
    assert agent.most == 3
    await empty(busy, key.id)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [10, 2 * MOST])
async def test_a_place_is_free_before_the_end_of_the_answer_is_written(
    store: StoreSettings,
    client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    *,
    chunked: bool,
) -> None:
    """Who reads that end may ask for the next thing at once, at another worker."""
    body, write, found = b"x" * size, Outbox.flush, []
    framing, end = b"Content-Length: %d" % size, b"x"
    said = [body]
    if chunked:
        framing, end = b"Transfer-Encoding: chunked", b"0\r\n\r\n"
        said = [b"%x\r\n%b\r\n" % (size, body), end]
        # As where others have much to write in the same turn.
        monkeypatch.setattr(outbox, "MOST", 0)
    said[0] = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (framing, said[0])
    async with new_world(store, client) as world, agent_that(says_in_turn(*said)) as upstream:
        world.serve(world.agent(upstream=upstream))
        key = await world.issue(limits="concurrency=1")

        def watched(box: Outbox) -> None:
            if any(bytes(data).endswith(end) for _, data in box._waiting):
                found.append(becomes_free(store, key.id))
            write(box)

        monkeypatch.setattr(Outbox, "flush", watched)
        assert (await world.call(key)).body == body
    assert found == [True]


def says_in_turn(first: bytes, *more: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            for piece in more:
                await asyncio.sleep(0.05)
                writer.write(piece)

    return serve


def becomes_free(store: StoreSettings, key_id: str) -> bool:
    """Whether the key's places are all given back by what Redis has been sent so far: the event
    loop waits meanwhile."""
    with BlockingRedis.from_url(store.url or "") as redis:
        ends = time.monotonic() + 5.0
        while redis.zcard(f"gw:lease:{{{key_id}}}"):
            if time.monotonic() > ends:
                return False
    return True


async def test_a_place_is_free_again_when_the_answer_has_ended(busy: World, agent: Agent) -> None:
    key = await busy.issue(limits="concurrency=1")
    agent.let_go.set()
    for _ in range(10):
        assert (await busy.call(key)).status == 200
        await empty(busy, key.id)


async def test_a_caller_that_leaves_gives_its_place_back(busy: World, agent: Agent) -> None:
    key = await busy.issue(limits="concurrency=1")
    call = asyncio.create_task(busy.call(key))
    await agent.until(1)
    call.cancel()
    await empty(busy, key.id)


async def test_a_limit_at_one_agent_is_counted_besides(busy: World, agent: Agent) -> None:
    key = await busy.issue(plan="one-here")
    first = asyncio.create_task(busy.call(key))
    await agent.until(1)
    refused = await busy.call(key)
    check(refused, Code.CONCURRENCY_LIMITED)
    assert refused.json["error"]["limit"] == "agent-concurrency"
    agent.let_go.set()
    assert (await first).status == 200


async def test_a_refusal_for_concurrency_spends_no_quota(busy: World, agent: Agent) -> None:
    key = await busy.issue(plan="day")
    first = asyncio.create_task(busy.call(key))
    await agent.until(1)
    for _ in range(5):
        refused = await busy.call(key)
        check(refused, Code.CONCURRENCY_LIMITED)
        assert refused.headers["RateLimit"].startswith('"day";r=1;')
    agent.let_go.set()
    assert (await first).status == 200
    await empty(busy, key.id)
    assert (await busy.call(key)).status == 200
    check(await busy.call(key), Code.QUOTA_EXHAUSTED)


async def test_places_of_a_gateway_that_died_run_out(busy: World, agent: Agent) -> None:
    key = await busy.issue(limits="concurrency=1")
    seconds, micros = await busy.client.time()
    now = seconds * 1000 + micros / 1000
    name = f"gw:lease:{{{key.id}}}"
    await busy.client.zadd(name, {"of-the-dead": now + 60_000})
    check(await busy.call(key), Code.CONCURRENCY_LIMITED)
    await busy.client.zadd(name, {"of-the-dead": now - 1})
    agent.let_go.set()
    assert (await busy.call(key)).status == 200


@asynccontextmanager
async def one_call(busy: World, agent: Agent) -> AsyncIterator[str]:
    """A call that is under way meanwhile, by the name of its lease."""
    key = await busy.issue(limits="concurrency=1")
    async with new_world(busy.store, busy.client) as quick:
        quick.policies = busy.policies
        call = asyncio.create_task(quick.call(key))
        await agent.until(1)
        yield f"gw:lease:{{{key.id}}}"
        agent.let_go.set()
        assert (await call).status == 200


async def test_a_place_is_renewed_while_its_request_lasts_and_has_an_end(
    busy: World, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    async with one_call(busy, agent) as name:
        ((member, first),) = await busy.client.zrange(name, 0, -1, withscores=True)
        assert 0 < await busy.client.ttl(name) <= leases.LEASE_SECONDS + 1
        async with asyncio.timeout(PATIENCE):
            while await busy.client.zscore(name, member) == first:
                await asyncio.sleep(0.01)


async def test_a_place_that_ran_out_is_not_brought_back(
    busy: World, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.02)
    async with one_call(busy, agent) as name:
        await busy.client.delete(name)
        for _ in range(10):
            await asyncio.sleep(0.02)
            assert not await busy.client.exists(name)
