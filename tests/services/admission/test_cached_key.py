"""A cached key outlives neither its record nor the policies in force."""

import gc
from weakref import ref

from redis.asyncio import Redis

from gateway.domain.policies.snapshot import Policies
from tests.flows.conftest import world
from tests.flows.services import put
from tests.flows.world import World

__all__ = ["world"]


async def test_keys_that_nobody_uses_any_more_keep_no_old_policies_alive(
    world: World, client: Redis
) -> None:
    """A soak showed it: memory grew with each reload, by a whole set of policies."""
    sets: list[ref[Policies]] = []
    for number in range(5):
        agent = f"echo: {{upstream: 'http://127.0.0.1:{world.agent_port}'}}"
        put(world, f"version: 1\n# {number}\nagents: {{{agent}}}\n")
        assert (await world.call(await world.issue())).status == 200
        sets.append(ref(world.policies))
    gc.collect()
    assert [one() is not None for one in sets] == [False] * 4 + [True]
