"""A fleet with a pepper computes argon2 only for what has no usable tag, and changes its pepper
while it serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from gateway.crypto.tags import Peppers, pepper_id
from gateway.domain.errors import Code
from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.services.admission.authenticate import WRITERS
from gateway.services.admission.throttle import PER_KEY
from gateway.services.keys.issue import Issuer
from gateway.store.keys import KeyStore
from tests.flows.many_keys import many_keys
from tests.flows.refusals import check
from tests.flows.world import World, draw, metrics, new_world, peppers
from tests.flows.wrong_keys import unknown, wrong

OLD, NEW = b"o" * 32, b"n" * 32
PATIENCE = 10.0


@asynccontextmanager
async def process(store: StoreSettings, client: Redis, *known: bytes) -> AsyncIterator[World]:
    """A gateway that has just started and knows these peppers."""
    async with new_world(store, client, peppers=known) as world:
        yield world


async def runs(world: World) -> int:
    return int((await metrics(world))["gateway_argon2_runs_total"])


async def admitted(world: World, keys: list[Key]) -> bool:
    answers = await asyncio.gather(*(world.call(key) for key in keys))
    return {answer.status for answer in answers} == {200}


async def tagged_with(client: Redis, keys: list[Key], field: str = "tag") -> set[str]:
    """The ids of the peppers of these keys' tags."""
    found = [await client.hget(f"gw:key:{{{key.id}}}", field) for key in keys]
    return {str(tag)[:8] for tag in found}


async def all_tagged_with(client: Redis, keys: list[Key], pepper: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        while await tagged_with(client, keys) != {pepper_id(pepper)}:
            await asyncio.sleep(0.02)


async def rotated(world: World, key: Key) -> Key:
    issuer = Issuer(KeyStore(world.client, world.store.prefix), peppers(world), draw)
    return (await issuer.rotate(key.id, 3600)).key


async def test_a_key_that_was_issued_costs_no_process_argon2_nor_does_either_secret_in_grace(
    store: StoreSettings, client: Redis
) -> None:
    async with process(store, client, OLD) as first:
        old = await first.issue()
        assert await admitted(first, [old] * 3)
        assert await runs(first) == 0
        new = await rotated(first, old)
    async with process(store, client, OLD) as second:
        assert await admitted(second, [old, new, old, new])
        check(await second.call(wrong(new)), Code.KEY_INVALID)
        assert await runs(second) == 0


async def test_no_wrong_key_costs_argon2_with_the_id_of_a_real_one_neither(
    store: StoreSettings, client: Redis
) -> None:
    async with process(store, client, OLD) as world:
        keys = await many_keys(client, 50, Peppers((OLD,)))
        bad = [wrong(key) for key in keys for _ in range(5)] + [unknown() for _ in range(250)]
        answers = await asyncio.gather(*(world.call(text) for text in bad))
        for answer in answers:
            check(answer, Code.KEY_INVALID)
        assert await runs(world) == 0


async def test_a_new_pepper_takes_over_as_keys_are_used_and_costs_no_argon2(
    store: StoreSettings, client: Redis
) -> None:
    async with process(store, client, OLD) as before:
        used, unused = await before.issue(), await before.issue()
        previous = await before.issue()
        current = await rotated(before, previous)
    async with process(store, client, NEW, OLD) as between:
        assert await admitted(between, [used, previous, current])
        await all_tagged_with(client, [used, current], NEW)
        assert await tagged_with(client, [previous], "previous_tag") == {pepper_id(NEW)}
        assert await tagged_with(client, [unused]) == {pepper_id(OLD)}
        assert await runs(between) == 0
    async with process(store, client, NEW) as after:
        assert await admitted(after, [used, previous, current])
        assert await runs(after) == 0
        # Who comes too late is refused nothing, and costs every process one computation.
        assert await admitted(after, [unused] * 3)
        assert await runs(after) == 1
        assert await tagged_with(client, [unused]) == {pepper_id(OLD)}


async def test_a_rush_of_keys_under_a_new_pepper_opens_few_connections_to_the_store(
    store: StoreSettings, client: Redis
) -> None:
    keys = await many_keys(client, 400, Peppers((OLD,)))
    async with process(store, client, NEW, OLD) as world:
        assert await admitted(world, keys[:1])
        before = (await client.info("stats"))["total_connections_received"]
        assert await admitted(world, keys)
        await all_tagged_with(client, keys, NEW)
        opened = (await client.info("stats"))["total_connections_received"] - before
        assert opened <= WRITERS + 1
        assert await runs(world) == 0


async def test_processes_that_know_only_the_old_pepper_neither_refuse_nor_undo_the_new_one(
    store: StoreSettings, client: Redis
) -> None:
    async with (
        process(store, client, NEW, OLD) as ahead,
        process(store, client, OLD) as behind,
    ):
        key = (await many_keys(client, 1, Peppers((OLD,))))[0]
        assert await admitted(ahead, [key])
        await all_tagged_with(client, [key], NEW)
        assert await admitted(behind, [key] * 3)
        assert await runs(behind) == 1
        assert await admitted(ahead, [key] * 3)
        assert await tagged_with(client, [key]) == {pepper_id(NEW)}
        assert await runs(ahead) == 0


async def test_without_a_pepper_every_process_computes_each_key_once_and_wrong_ones_within_bounds(
    store: StoreSettings, client: Redis
) -> None:
    keys = await many_keys(client, 20)
    for _ in range(2):
        async with process(store, client) as world:
            for _ in range(3):
                assert await admitted(world, keys)
            assert await runs(world) == len(keys)
            for _ in range(PER_KEY.burst):
                check(await world.call(wrong(keys[0])), Code.KEY_INVALID)
            for _ in range(20):
                check(await world.call(wrong(keys[0])), Code.BUSY)
            assert await runs(world) == len(keys) + PER_KEY.burst
            assert await admitted(world, keys)
    assert await tagged_with(client, keys) == {""}
