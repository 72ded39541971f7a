"""A gateway and a store of its own, which can be stopped."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
from aiohttp import web
from redis.exceptions import RedisError

from gateway.domain.errors import Code
from gateway.domain.keys.key import Key
from gateway.domain.keys.limits import Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Upstream
from tests.awake import awake
from tests.flows.own_store import OwnStore, own_store
from tests.flows.refusals import check
from tests.flows.world import Answer, World, listening, new_world

TIMEOUT = 0.5


# What a busy machine may add to the time of an answer.
SLACK = 1.5


DAILY = 10**6


COUNTER = "gw:quota:{%s}:day"


@dataclass
class Scene:
    """A gateway on a store of its own, before an agent that counts what reaches it."""

    store: OwnStore
    world: World
    limited: Key
    unlimited: Key
    reached: int = 0

    async def warm_up(self) -> None:
        for key in (self.limited, self.unlimited):
            assert (await self.world.call(key)).status == 200

    async def timed(self, key: Key) -> tuple[Answer, float]:
        with awake() as passed:
            return await self.world.call(key), passed()

    async def charged(self) -> int:
        """Once the store answers: after a stall, sentinels call a master that is well down."""
        async with asyncio.timeout(60):
            while True:
                with suppress(RedisError):
                    return int(await self.store.client.get(COUNTER % self.limited.id) or 0)
                await asyncio.sleep(0.05)

    async def healed(self, seconds: float = 1.0) -> None:
        """Within `seconds`, and then for good."""
        with awake() as passed:
            while (await self.world.call(self.limited)).status != 200:
                assert passed() < seconds + SLACK
        for _ in range(5):
            assert (await self.world.call(self.limited)).status == 200


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with own_store() as store, opened(store) as made:
        await made.warm_up()
        yield made


@asynccontextmanager
async def opened(store: OwnStore, key: Key | None = None) -> AsyncIterator[Scene]:
    """`key`: one that was issued before, with the plan `daily`; else new ones are."""

    async def count(request: web.Request) -> web.Response:
        made.reached += 1
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", count)
    async with (
        listening(app) as port,
        new_world(store.settings, store.client, store_timeout=TIMEOUT) as world,
    ):
        plans = {"daily": Plan("daily", Limits(quotas=(Quota(DAILY, Window.DAY),)))}
        world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", port)), plans=plans)
        limited = key or await world.issue(plan="daily")
        made = Scene(store, world, limited, key or await world.issue())
        yield made


@asynccontextmanager
async def loaded(scene: Scene, statuses: Counter[int], callers: int = 8) -> AsyncIterator[None]:
    """While this lasts, so many callers call one after another."""
    ended = asyncio.Event()

    async def call_on() -> None:
        while not ended.is_set():
            statuses[(await scene.world.call(scene.limited)).status] += 1

    tasks = [asyncio.create_task(call_on()) for _ in range(callers)]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks)


# Of the way back to health, in seconds.
RECOVERY = 5.0 - SLACK


async def refused_in_time(scene: Scene, calls: int = 20) -> None:
    """All at once, each within the timeout, and none reaches the agent."""
    reached = scene.reached
    timed = [scene.timed(key) for key in (scene.limited, scene.unlimited) * (calls // 2)]
    for answer, seconds in await asyncio.gather(*timed):
        check(answer, Code.STORE_UNAVAILABLE)
        assert seconds < TIMEOUT + SLACK
    assert scene.reached == reached
