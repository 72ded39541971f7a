"""Redis Cluster: slots move, masters die, and every caller is answered rightly or told to wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.domain.errors import Code
from gateway.domain.keys.key import Key
from gateway.domain.keys.limits import Concurrency, Limits
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Upstream
from gateway.store.connections.connect import open_store
from gateway.store.connections.slots import slot_of
from gateway.store.keys import KeyStore
from tests.awake import awake
from tests.flows.clusters import CLUSTER, ClusterStore, cluster_store, run
from tests.flows.nodes import Node, start_node
from tests.flows.refusals import check
from tests.flows.scene import COUNTER, SLACK, TIMEOUT, Scene, opened
from tests.flows.ticking import BOUND, read_on, ticking
from tests.flows.trickle import Trickle, trickling
from tests.flows.world import World, listening

RECOVERY = 5.0
PLANS = {"daily": Plan("daily", Limits())}
LEASES = "gw:lease:{%s}"


@dataclass
class Fleet:
    """A gateway on a cluster, and a key on each of its masters."""

    store: ClusterStore
    scene: Scene
    keys: list[Key]

    async def key_on(self, node: Node) -> Key:
        for key in self.keys:
            if await self.store.master_of(key) is node:
                return key
        raise AssertionError

    async def mark(self, key: Key, status: str) -> None:
        """As one command does it, that knows nothing of the cluster before."""
        async with open_store(self.store.operator) as client:
            assert await KeyStore(client, "gw:").set_status(key.id, status) == "done"

    async def charged(self, key: Key) -> int:
        async with open_store(self.store.operator) as client:
            return int(await client.get(COUNTER % key.id) or 0)

    async def check_books(self, seen: Trickle, *, lossless: bool) -> None:
        """Every key began uncharged, and `seen` are all its calls."""
        assert seen.statuses <= {200, 503}
        assert seen.slowest() < TIMEOUT + SLACK
        assert self.scene.reached == seen.count(200), "nobody is let in unchecked"
        for key in {call.key for call in seen.calls}:
            charged, admitted = await self.charged(key), seen.count(200, key)
            assert charged <= admitted + seen.count(503, key), "nothing is charged twice"
            if lossless:
                assert charged >= admitted


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with cluster_store() as store, opened(store) as scene:  # type: ignore[arg-type]
        keys: dict[int, Key] = {}
        while len(keys) < 3:
            key = await scene.world.issue(plan="daily")
            keys[(await store.master_of(key)).port] = key
        yield Fleet(store, scene, list(keys.values()))


async def test_each_key_is_decided_on_by_the_node_that_holds_it(fleet: Fleet) -> None:
    for key in fleet.keys:
        answers = [await fleet.scene.world.call(key) for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        assert await fleet.charged(key) == 5
        owner = await fleet.store.master_of(key)
        assert await owner.client.get(COUNTER % key.id) == "5"
        await fleet.mark(key, "revoked")
        check(await fleet.scene.world.call(key), Code.KEY_REVOKED)


async def test_a_slot_that_moves_under_load_costs_nobody_a_wrong_answer(fleet: Fleet) -> None:
    source = fleet.store.nodes[0]
    key = await fleet.key_on(source)
    slot = slot_of(key.id)
    target = fleet.store.nodes[1]
    async with trickling(fleet.scene.world, *fleet.keys) as seen:
        await asyncio.sleep(0.2)
        for _ in range(3):
            # Slow enough for calls to meet a slot of which some names have gone and some have not.
            await fleet.store.move(slot, source, target, pause=0.05)
            await seen.heals(RECOVERY, key)
            source, target = target, source
    await fleet.check_books(seen, lossless=True)
    others = [other for other in fleet.keys if other is not key]
    assert seen.count(503, *others) == 0, "who is elsewhere notices nothing"
    await fleet.mark(key, "revoked")
    check(await fleet.scene.world.call(key), Code.KEY_REVOKED)


async def test_a_slot_that_moves_to_a_node_nobody_knew_is_followed(
    fleet: Fleet, tmp_path: Path
) -> None:
    source = fleet.store.nodes[0]
    key = await fleet.key_on(source)
    new = await start_node(tmp_path / "new", CLUSTER)
    try:
        await fleet.store.take_in(new)
        async with trickling(fleet.scene.world, *fleet.keys) as seen:
            await asyncio.sleep(0.2)
            await fleet.store.move(slot_of(key.id), source, new, pause=0.05)
            await seen.heals(RECOVERY, key)
            await fleet.store.move(slot_of(key.id), new, source)
            await seen.heals(RECOVERY, key)
        await fleet.check_books(seen, lossless=True)
    finally:
        await new.close()


async def test_places_are_given_back_while_their_slot_moves(fleet: Fleet) -> None:
    """A place that is lost on the way would be missed for the whole time of a lease."""
    world = fleet.scene.world
    world.serve(
        *world.policies.agents.values(),
        plans={"daily": Plan("daily", Limits(concurrency=Concurrency(2)))},
    )
    source, target = fleet.store.nodes[0], fleet.store.nodes[1]
    key = await fleet.key_on(source)
    async with trickling(world, key, callers=2) as seen:
        for _ in range(2):
            await fleet.store.move(slot_of(key.id), source, target, pause=0.05)
            await asyncio.sleep(0.2)
            source, target = target, source
        await seen.heals(RECOVERY)
    # A move may catch a place before it is given back, and both callers then wait for it.
    assert seen.statuses <= {200, 429, 503}
    async with open_store(fleet.store.operator) as client:
        # A lease that nobody gives back lasts for 30 s.
        async with asyncio.timeout(15):
            while await client.zcard(LEASES % key.id):
                await asyncio.sleep(0.02)


async def test_a_node_that_hangs_costs_its_callers_one_timeout_and_then_next_to_nothing(
    fleet: Fleet,
) -> None:
    hung = fleet.store.nodes[2]
    key = await fleet.key_on(hung)
    other = next(one for one in fleet.keys if one is not key)
    for one in (key, other):
        assert (await fleet.scene.world.call(one)).status == 200
    hung.freeze()
    try:
        check(await fleet.scene.world.call(key), Code.STORE_UNAVAILABLE)
        took = []
        for _ in range(20):
            answer, seconds = await fleet.scene.timed(key)
            took.append(seconds)
            check(answer, Code.STORE_UNAVAILABLE)
            assert (await fleet.scene.world.call(other)).status == 200
        assert max(took) < TIMEOUT
    finally:
        hung.thaw()


async def test_a_cluster_that_is_gone_as_a_whole_is_found_again(fleet: Fleet) -> None:
    world = fleet.scene.world
    for node in fleet.store.nodes:
        node.freeze()
    for key in fleet.keys:
        check(await world.call(key), Code.STORE_UNAVAILABLE)
    for node in fleet.store.nodes:
        node.thaw()
    with awake() as passed:
        for key in fleet.keys:
            while (await world.call(key)).status != 200:
                assert passed() < RECOVERY
                await asyncio.sleep(0.02)


async def test_a_gateway_that_starts_before_its_cluster_serves_once_it_is_there(
    fleet: Fleet,
) -> None:
    for node in fleet.store.nodes:
        node.freeze()
    try:
        async with opened(fleet.store, fleet.keys[0]) as later:  # type: ignore[arg-type]
            check(await later.world.call(fleet.keys[0]), Code.STORE_UNAVAILABLE)
            for node in fleet.store.nodes:
                node.thaw()
            await later.healed(seconds=RECOVERY)
    finally:
        for node in fleet.store.nodes:
            node.thaw()


async def test_open_streams_of_other_nodes_are_watched_while_one_is_gone_for_good(
    fleet: Fleet,
) -> None:
    nodes = fleet.store.nodes
    dead, key = nodes[0], await fleet.key_on(nodes[1])
    lost = await fleet.key_on(dead)
    for node in nodes:
        await run(node, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    world = fleet.scene.world
    async with streaming(world, key) as answer, streaming(world, lost) as unseen:
        dead.kill()
        nodes[3].kill()
        await asyncio.sleep(1.5)
        await fleet.mark(key, "revoked")
        with awake() as passed:
            told, whole = await read_on(answer)
            assert passed() < BOUND + SLACK
        assert (b"key_revoked" in told, whole) == (True, False)
        await unseen.content.readuntil(b"\n\n")


@asynccontextmanager
async def streaming(world: World, key: Key) -> AsyncIterator[aiohttp.ClientResponse]:
    """An event stream that has begun."""
    app = web.Application()
    app.router.add_get("/{path:.*}", ticking)
    async with listening(app) as port:
        world.serve(world.agent(upstream=Upstream("http", "127.0.0.1", port)), plans=PLANS)
        headers = {"Authorization": f"Bearer {key.text}"}
        async with world.session.get(f"{world.url}/agents/echo/ticks", headers=headers) as answer:
            await answer.content.readuntil(b"\n\n")
            yield answer


async def test_a_dead_master_costs_its_own_keys_a_wait_and_the_others_nothing(
    fleet: Fleet,
) -> None:
    dead = fleet.store.nodes[0]
    key = await fleet.key_on(dead)
    async with trickling(fleet.scene.world, *fleet.keys) as seen:
        await asyncio.sleep(0.2)
        dead.kill()
        await seen.refused(key)
        await fleet.store.take_over(slot_of(key.id), dead)
        await seen.heals(RECOVERY, key)
    await fleet.check_books(seen, lossless=False)
    others = [other for other in fleet.keys if other is not key]
    assert seen.count(503, *others) == 0
    await fleet.mark(key, "revoked")
    check(await fleet.scene.world.call(key), Code.KEY_REVOKED)


async def test_a_master_that_hangs_is_replaced_and_what_it_knew_lets_nobody_in(
    fleet: Fleet,
) -> None:
    hung = fleet.store.nodes[1]
    key = await fleet.key_on(hung)
    async with trickling(fleet.scene.world, *fleet.keys) as seen:
        await asyncio.sleep(0.2)
        hung.freeze()
        try:
            await seen.refused(key)
            await fleet.store.take_over(slot_of(key.id), hung)
            await seen.heals(RECOVERY, key)
            await fleet.mark(key, "disabled")
        finally:
            hung.thaw()
        for _ in range(100):
            check(await fleet.scene.world.call(key), Code.KEY_DISABLED)
    assert seen.statuses <= {200, 401, 503}
