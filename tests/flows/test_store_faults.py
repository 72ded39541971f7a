"""Redis hangs, dies, fills up, forgets: nobody is let in unchecked, nothing is charged twice, and
the gateway heals by itself."""

import asyncio
from collections import Counter

from structlog.testing import capture_logs

from gateway.domain.errors import Code
from tests.flows.own_store import own_store
from tests.flows.refusals import check
from tests.flows.scene import SLACK, TIMEOUT, Scene, loaded, opened
from tests.flows.scene import scene as scene


async def test_a_store_that_hangs_costs_its_timeout_and_heals(scene: Scene) -> None:
    reached, charged = scene.reached, await scene.charged()
    scene.store.freeze()
    try:
        calls = [scene.timed(key) for key in (scene.limited, scene.unlimited) * 25]
        for answer, seconds in await asyncio.gather(*calls):
            check(answer, Code.STORE_UNAVAILABLE)
            assert seconds < TIMEOUT + SLACK
        fresh, seconds = await scene.timed(scene.limited)
        check(fresh, Code.STORE_UNAVAILABLE)
        assert seconds < TIMEOUT + SLACK
        assert scene.reached == reached
    finally:
        scene.store.thaw()
    await scene.healed()
    # Those under way may have run once it woke up: each of them once, and nobody was let in.
    assert await scene.charged() <= charged + 26 + scene.reached - reached


async def test_a_store_that_is_gone_lets_nobody_in_and_heals_once_it_is_back(
    scene: Scene,
) -> None:
    reached = scene.reached
    scene.store.kill()
    for key in (scene.limited, scene.unlimited) * 3:
        answer, seconds = await scene.timed(key)
        check(answer, Code.STORE_UNAVAILABLE)
        assert seconds < TIMEOUT + SLACK
    assert scene.reached == reached
    await scene.store.start()
    await scene.healed()


async def test_a_gateway_that_starts_before_its_store_serves_once_it_is_there() -> None:
    async with own_store() as store:
        async with opened(store) as first:
            key = first.limited
        store.kill()
        async with opened(store, key) as scene:
            check(await scene.world.call(key), Code.STORE_UNAVAILABLE)
            await store.start()
            await scene.healed()


async def test_deaths_under_load_let_nobody_in_unchecked_and_charge_nothing_twice(
    scene: Scene,
) -> None:
    statuses: Counter[int] = Counter()
    start, charged = scene.reached, await scene.charged()
    async with loaded(scene, statuses):
        for _ in range(4):
            await asyncio.sleep(0.1)
            scene.store.kill()
            await asyncio.sleep(0.1)
            await scene.store.start()
            await scene.healed(seconds=10)
    # A death may fall between two calls, and one that waits long enough is served after it.
    assert {200} <= set(statuses) <= {200, 503}
    admitted = scene.reached - start
    charges = await scene.charged() - charged
    assert admitted >= statuses[200]
    assert admitted <= charges <= admitted + statuses[503]


async def test_a_flushed_script_is_unseen_by_callers_and_charges_once(scene: Scene) -> None:
    statuses: Counter[int] = Counter()
    start, charged = scene.reached, await scene.charged()
    async with loaded(scene, statuses):
        for _ in range(50):
            await scene.store.client.script_flush()
            await asyncio.sleep(0.005)
    assert set(statuses) == {200}
    assert await scene.charged() - charged == scene.reached - start


async def test_a_paused_store_holds_callers_up_and_forgets_nobody(scene: Scene) -> None:
    charged = await scene.charged()
    await scene.store.client.client_pause(int(TIMEOUT * 500))
    answers = await asyncio.gather(*(scene.world.call(scene.limited) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert await scene.charged() == charged + 20


async def test_in_a_full_store_a_key_with_limits_waits_and_a_key_is_revoked_by_deleting_it(
    scene: Scene,
) -> None:
    client = scene.store.client
    await client.config_set("maxmemory", "1")
    check(await scene.world.call(scene.limited), Code.STORE_UNAVAILABLE)
    assert (await scene.world.call(scene.unlimited)).status == 200
    assert await client.delete(scene.world.record(scene.unlimited)) == 1
    check(await scene.world.call(scene.unlimited), Code.KEY_INVALID)
    assert await client.expire(scene.world.record(scene.limited), 0)
    check(await scene.world.call(scene.limited), Code.KEY_INVALID)
    await client.config_set("maxmemory", "0")


async def test_a_replica_charges_nobody_and_a_new_primary_is_found(scene: Scene) -> None:
    client, reached = scene.store.client, scene.reached
    await client.replicaof("127.0.0.1", "1")
    for _ in range(3):
        check(await scene.world.call(scene.limited), Code.STORE_UNAVAILABLE)
    assert scene.reached == reached
    await client.replicaof("NO", "ONE")
    await scene.healed()


async def test_a_store_that_is_away_is_not_logged_once_a_request(scene: Scene) -> None:
    scene.store.kill()
    with capture_logs() as logs:
        answers = await asyncio.gather(*(scene.world.call(scene.limited) for _ in range(50)))
    assert {answer.status for answer in answers} == {503}
    said = [event for event in logs if event["event"] == "store_unavailable"]
    assert 1 <= len(said) < 5
