"""The way to Redis is slow, goes dead, or loses answers: nobody is let in unchecked, nothing is
charged twice, and the gateway heals by itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.flows.own_store import own_store
from tests.flows.relays import Relay, at_port, deaf, relayed
from tests.flows.scene import RECOVERY, TIMEOUT, Scene, loaded, opened, refused_in_time

Wired = tuple[Scene, Relay]


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    async with own_store() as store, relayed(store) as relay, opened(store) as scene:
        await scene.warm_up()
        yield scene, relay


async def test_a_slow_store_is_waited_for_and_charged_once_a_request(wired: Wired) -> None:
    scene, relay = wired
    charged = await scene.charged()
    relay.delay = TIMEOUT / 5
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = await asyncio.gather(*(scene.world.call(scene.limited) for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert loop.time() - began > 2 * relay.delay
    assert await scene.charged() == charged + 30


async def test_a_store_that_is_too_slow_costs_the_timeout_and_heals(wired: Wired) -> None:
    scene, relay = wired
    charged, reached = await scene.charged(), scene.reached
    relay.delay = TIMEOUT * 2
    await refused_in_time(scene)
    await refused_in_time(scene)
    relay.delay = 0.0
    await scene.healed(RECOVERY)
    assert await scene.charged() <= charged + 20 + scene.reached - reached


async def test_a_dead_wire_costs_the_timeout_on_old_and_new_connections_and_heals(
    wired: Wired,
) -> None:
    scene, relay = wired
    charged, reached = await scene.charged(), scene.reached
    relay.alive.clear()
    for _ in range(3):
        await refused_in_time(scene)
    relay.alive.set()
    await scene.healed(RECOVERY)
    assert await scene.charged() <= charged + 30 + scene.reached - reached


@asynccontextmanager
async def charged_once(scene: Scene) -> AsyncIterator[None]:
    """While calls are made: each that was admitted was charged once, each whose answer was lost at
    most once."""
    charged, reached = await scene.charged(), scene.reached
    statuses: Counter[int] = Counter()
    async with loaded(scene, statuses):
        yield
        await scene.healed(RECOVERY)
    assert set(statuses) == {200, 503}
    admitted = scene.reached - reached
    charges = await scene.charged() - charged
    assert admitted <= charges <= admitted + statuses[503]


async def test_lost_answers_are_never_asked_for_again(wired: Wired) -> None:
    scene, relay = wired
    async with charged_once(scene):
        relay.eats = 5
        async with asyncio.timeout(30):
            while relay.eaten < 20:
                await asyncio.sleep(0.01)
        relay.eats = 0


async def test_an_answer_lost_while_the_script_is_forgotten_too_is_charged_at_most_once(
    wired: Wired,
) -> None:
    scene, relay = wired
    async with charged_once(scene):
        relay.eats = 9
        async with asyncio.timeout(30):
            while relay.eaten < 20:
                await scene.store.client.script_flush()
                await asyncio.sleep(0.005)
        relay.eats = 0


async def test_a_connection_that_is_never_made_costs_the_timeout_and_is_made_later(
    wired: Wired,
) -> None:
    scene, relay = wired
    async with deaf() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.open_connection("127.0.0.1", port)
        scene.store.settings = at_port(scene.store.settings, port)
        async with opened(scene.store, scene.limited) as other:
            for _ in range(3):
                await refused_in_time(other)
            listener.close()
            async with await asyncio.start_server(relay.serve, "127.0.0.1", port):
                await other.healed(RECOVERY)


async def test_a_wire_that_stutters_lets_nobody_in_unchecked(wired: Wired) -> None:
    scene, relay = wired
    charged, reached = await scene.charged(), scene.reached
    statuses: Counter[int] = Counter()
    async with loaded(scene, statuses):
        for _ in range(4):
            await asyncio.sleep(0.1)
            relay.alive.clear()
            await asyncio.sleep(TIMEOUT * 1.2)
            relay.alive.set()
            await scene.healed(RECOVERY)
    assert set(statuses) <= {200, 503}
    admitted = scene.reached - reached
    charges = await scene.charged() - charged
    assert admitted <= charges <= admitted + statuses[503]
