"""Redis answers, but not as it should: it forgot everything, is full, has no room, knows us no
more, or is no primary. Nobody is let in unchecked, and the gateway heals by itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.errors import Code
from gateway.store.connections.connect import open_store
from gateway.store.keys import KeyStore
from tests.flows.own_store import PATIENCE, OwnStore, own_store
from tests.flows.refusals import check
from tests.flows.relays import relayed
from tests.flows.scene import RECOVERY, SLACK, TIMEOUT, Scene, loaded, opened, refused_in_time

USER, PASSWORD = "gateway", "of-the-gateway"
RIGHTS = ("on", f">{PASSWORD}", "~*", "+@all")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """The gateway logs in with a password, the test without."""
    async with own_store() as store:
        await store.client.acl_setuser(USER, enabled=True, reset=True)
        await acl(store, *RIGHTS)
        store.settings = store.as_user((USER, PASSWORD))
        async with opened(store) as made:
            await made.warm_up()
            yield made


async def acl(store: OwnStore, *rules: str) -> None:
    await store.client.execute_command("ACL", "SETUSER", USER, *rules)


async def thrown_out(client: Redis) -> None:
    """Every connection but the test's own."""
    await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def no_more_a_user(scene: Scene) -> None:
    await scene.store.client.execute_command("ACL", "DELUSER", USER)


async def another_password(scene: Scene) -> None:
    await acl(scene.store, "resetpass", ">another")
    # Who is logged in stays so.
    assert (await scene.world.call(scene.limited)).status == 200
    await thrown_out(scene.store.client)


async def switched_off(scene: Scene) -> None:
    await acl(scene.store, "off")
    await thrown_out(scene.store.client)


async def no_scripts(scene: Scene) -> None:
    await acl(scene.store, "-@scripting")


async def no_reading(scene: Scene) -> None:
    await acl(scene.store, "-hmget")


async def no_names(scene: Scene) -> None:
    await acl(scene.store, "resetkeys")


LOCKED: list[Callable[[Scene], Awaitable[None]]] = [
    *(no_more_a_user, another_password, switched_off, no_scripts, no_reading, no_names)
]


@pytest.mark.parametrize("lock", LOCKED, ids=lambda lock: lock.__name__)
async def test_a_gateway_that_is_locked_out_refuses_and_comes_back_by_itself(
    scene: Scene, lock: Callable[[Scene], Awaitable[None]]
) -> None:
    await lock(scene)
    for _ in range(2):
        await refused_in_time(scene)
    charged = await scene.charged()
    await acl(scene.store, "reset", *RIGHTS)
    reached = scene.reached
    await scene.healed(RECOVERY)
    assert await scene.charged() == charged + scene.reached - reached


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "invalid username-password pair or user is disabled."),
        # What it does not know it repeats, with all that came with it.
        (("--rename-command", "AUTH", ""), "unknown command 'AUTH'"),
    ],
)
async def test_why_a_store_lets_nobody_in_is_in_the_log_and_no_password_is(
    options: tuple[str, ...], why: str
) -> None:
    async with own_store(options) as store:
        store.settings = store.as_user((USER, PASSWORD))
        with capture_logs() as logs:
            async with opened(store), asyncio.timeout(PATIENCE):
                while not any(event.get("reason") == why for event in logs):
                    await asyncio.sleep(0.01)
        assert PASSWORD not in str(logs)


async def test_a_password_set_for_everybody_holds_from_the_next_connection_on() -> None:
    async with own_store() as store, opened(store) as scene:
        await scene.warm_up()
        await store.client.config_set("requirepass", "secret")
        assert (await scene.world.call(scene.limited)).status == 200
        await thrown_out(store.client)
        await refused_in_time(scene)
        await store.client.config_set("requirepass", "")
        await scene.healed(RECOVERY)


async def test_connections_that_the_store_has_closed_fail_no_act_of_an_operator() -> None:
    """Nothing is repeated, so that a closed one has to be known before it is used."""
    async with (
        own_store() as store,
        # Over TCP, as most stores are reached.
        relayed(store),
        open_store(store.settings) as client,
    ):
        keys = KeyStore(client, "gw:")
        # Several are in the pool.
        await asyncio.gather(*(keys.now() for _ in range(5)))
        await thrown_out(store.client)
        pool = client.connection_pool._available_connections
        async with asyncio.timeout(PATIENCE):
            while not all(one._reader.at_eof() for one in pool):
                await asyncio.sleep(0.01)
        for _ in range(10):
            assert await keys.get("abcdefghijkl") is None


async def test_a_store_with_no_room_for_a_connection_is_one_that_is_away(scene: Scene) -> None:
    client = scene.store.client
    await client.config_set("maxclients", 1)
    # What is connected stays so.
    assert (await scene.world.call(scene.limited)).status == 200
    await thrown_out(client)
    await refused_in_time(scene)
    await refused_in_time(scene)
    await client.config_set("maxclients", 100)
    await scene.healed(RECOVERY)


async def test_a_store_that_came_back_empty_knows_nobody_until_its_data_are_back(
    scene: Scene,
) -> None:
    kept = {key: await scene.store.client.dump(scene.world.record(key)) for key in keys(scene)}
    reached = scene.reached
    scene.store.kill()
    await refused_in_time(scene)
    scene.store.forget()
    scene.store.settings = scene.store.as_user(None)
    await scene.store.start()
    await scene.store.client.acl_setuser(USER, enabled=True, reset=True)
    await acl(scene.store, *RIGHTS)
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        while (await scene.world.call(scene.limited)).code == Code.STORE_UNAVAILABLE:
            await asyncio.sleep(0.01)
    for key in keys(scene):
        for _ in range(5):
            check(await scene.world.call(key), Code.KEY_INVALID)
    assert scene.reached == reached
    for key, record in kept.items():
        await scene.store.client.restore(scene.world.record(key), 0, record)
        assert (await scene.world.call(key)).status == 200
    assert await scene.charged() == 1


def keys(scene: Scene) -> tuple[object, object]:
    return scene.limited, scene.unlimited


async def test_a_store_that_fills_up_under_load_charges_whom_it_admits(scene: Scene) -> None:
    client, statuses = scene.store.client, Counter[int]()
    charged, reached = await scene.charged(), scene.reached
    async with loaded(scene, statuses):
        for _ in range(10):
            await client.config_set("maxmemory", "1")
            await asyncio.sleep(0.03)
            await client.config_set("maxmemory", "0")
            await asyncio.sleep(0.03)
        await scene.healed(RECOVERY)
    assert set(statuses) == {200, 503}
    # What it refuses for lack of memory it has not counted: nothing was written.
    assert await scene.charged() - charged == scene.reached - reached


async def test_a_replica_decides_on_nobody_not_even_on_a_key_without_limits(
    scene: Scene,
) -> None:
    """What the new primary has revoked, it may not have heard of."""
    client, reached = scene.store.client, scene.reached
    await client.replicaof("127.0.0.1", "1")
    for _ in range(5):
        await refused_in_time(scene)
    assert scene.reached == reached
    await client.replicaof("NO", "ONE")
    await scene.healed(RECOVERY)


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("maxmemory-policy", "volatile-lru", "quotas would start anew in silence"),
        ("appendonly", "no", "a crash can bring revoked keys back"),
    ],
)
async def test_a_store_that_may_forget_what_it_was_told_is_warned_of_at_the_start(
    setting: str, value: str, advice: str
) -> None:
    async with own_store() as store:
        await store.client.config_set(setting, value)
        with capture_logs() as logs:
            async with opened(store), asyncio.timeout(PATIENCE):
                while not any(event["event"] == "store_settings" for event in logs):
                    await asyncio.sleep(0.01)
    (warned,) = [event for event in logs if event["event"] == "store_settings"]
    assert warned["log_level"] == "warning"
    assert advice in warned["warning"]


def test_the_bound_leaves_room_for_the_timeout() -> None:
    assert TIMEOUT + SLACK < 5
