"""A Redis that is known to be away costs a caller milliseconds, and is back as soon as it is."""

import asyncio

from gateway.domain.errors import Code
from tests.flows.refusals import check
from tests.flows.scene import SLACK, TIMEOUT, Scene, scene
from tests.flows.world import metrics

__all__ = ["scene"]

# Far below the timeout; a refusal takes about a millisecond.
AT_ONCE = TIMEOUT / 2


async def test_a_hanging_store_costs_one_timeout_and_then_next_to_nothing(scene: Scene) -> None:
    reached = scene.reached
    scene.store.freeze()
    try:
        first, seconds = await scene.timed(scene.limited)
        check(first, Code.STORE_UNAVAILABLE)
        assert seconds < TIMEOUT + SLACK
        took = []
        for key in (scene.limited, scene.unlimited) * 50:
            answer, seconds = await scene.timed(key)
            check(answer, Code.STORE_UNAVAILABLE)
            took.append(seconds)
        assert sorted(took)[len(took) // 2] < AT_ONCE / 10
        assert max(took) < AT_ONCE
        assert scene.reached == reached
    finally:
        scene.store.thaw()
    await scene.healed()


async def test_whether_redis_answers_and_how_fast_is_a_metric(scene: Scene) -> None:
    async def shown(up: int) -> dict[str, float]:
        async with asyncio.timeout(20):
            while (found := await metrics(scene.world))["gateway_store_up"] != up:
                await asyncio.sleep(0.05)
        return found

    assert (await shown(1))["gateway_store_seconds_count"] >= 1
    scene.store.freeze()
    try:
        await shown(0)
    finally:
        scene.store.thaw()
    await shown(1)


async def test_a_dead_store_is_waited_for_briefly_and_then_not_at_all(scene: Scene) -> None:
    scene.store.kill()
    for _ in range(3):
        check(await scene.world.call(scene.limited), Code.STORE_UNAVAILABLE)
    for _ in range(50):
        answer, seconds = await scene.timed(scene.limited)
        check(answer, Code.STORE_UNAVAILABLE)
        assert seconds < AT_ONCE
    await scene.store.start()
    await scene.healed()


async def test_who_calls_while_it_works_is_never_refused_for_what_was_before(scene: Scene) -> None:
    for _ in range(5):
        scene.store.freeze()
        check(await scene.world.call(scene.limited), Code.STORE_UNAVAILABLE)
        scene.store.thaw()
        await scene.healed()
        charged = await scene.charged()
        answers = [(await scene.world.call(scene.limited)).status for _ in range(50)]
        assert answers == [200] * 50
        assert await scene.charged() == charged + 50
