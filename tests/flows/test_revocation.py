"""A bare redis-cli closes a key on the next request: warm proof, kept connection, any process."""

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.flows.world import World, new_world
from tests.phc import PHC


async def test_issue_call_narrow_revoke_on_one_kept_connection(
    world: World, redis_cli: Callable[..., str]
) -> None:
    world.serve(world.agent("echo"), world.agent("other"))
    key = await world.issue("agents/*")
    record = world.record(key)
    for _ in range(3):
        assert (await world.call(key)).status == 200
    redis_cli("HSET", record, "scopes", "agents/other:*")
    denied = await world.call(key)
    assert (denied.status, denied.code) == (403, "scope_denied")
    assert denied.json["error"]["required_scope"] == "agents/echo:invoke"
    assert (await world.call(key, "/agents/other/x")).status == 200
    assert redis_cli("HSET", record, "status", "revoked").strip() == "0"
    revoked = await world.call(key, "/agents/other/x")
    assert (revoked.status, revoked.code) == (401, "key_revoked")
    redis_cli("HSET", record, "status", "active")
    assert (await world.call(key, "/agents/other/x")).status == 200


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("HSET", "{}", "status", "revoked"), "key_revoked"),
        (("HSET", "{}", "status", "disabled"), "key_disabled"),
        (("HSET", "{}", "status", "ACTIVE"), "key_disabled"),
        (("HDEL", "{}", "status"), "key_disabled"),
        (("HSET", "{}", "expires_at", "1"), "key_expired"),
        (("EXPIRE", "{}", "0"), "key_invalid"),
        (("DEL", "{}"), "key_invalid"),
        (("HDEL", "{}", "hash"), "key_invalid"),
        (("HSET", "{}", "hash", "nonsense"), "key_invalid"),
        (("HSET", "{}", "hash", PHC), "key_invalid"),
        (("HSET", "{}", "plan", "gone"), "key_misconfigured"),
        (("HSET", "{}", "limits", "rate=fast"), "key_misconfigured"),
        (("HSET", "{}", "expires_at", "soon"), "key_misconfigured"),
    ],
)
@pytest.mark.denial("key_revoked")
@pytest.mark.denial("key_disabled")
@pytest.mark.denial("key_expired")
@pytest.mark.denial("key_invalid")
@pytest.mark.denial("key_misconfigured")
async def test_each_change_by_hand_holds_from_the_next_request_in_every_process(
    store: StoreSettings,
    client: Redis,
    redis_cli: Callable[..., str],
    command: tuple[str, ...],
    code: str,
) -> None:
    async with new_world(store, client, gateways=2) as world:
        key = await world.issue()
        for gateway in (0, 1, 0, 1):
            assert (await world.call(key, gateway=gateway)).status == 200
        redis_cli(*(word.format(world.record(key)) for word in command))
        for gateway in (0, 1):
            refused = await world.call(key, gateway=gateway)
            assert refused.code == code


async def test_nobody_elses_key_is_touched(world: World, redis_cli: Callable[..., str]) -> None:
    mine, yours = await world.issue(), await world.issue()
    assert (await world.call(mine)).status == (await world.call(yours)).status == 200
    redis_cli("HSET", world.record(mine), "status", "revoked")
    assert (await world.call(mine)).status == 401
    assert (await world.call(yours)).status == 200


async def test_a_revoked_key_is_never_admitted_however_often_it_is_tried(
    store: StoreSettings, client: Redis
) -> None:
    async with new_world(store, client, gateways=2) as world:
        for _ in range(25):
            key = await world.issue()
            for gateway in (0, 1):
                assert (await world.call(key, gateway=gateway)).status == 200
            await client.delete(world.record(key))
            for gateway in (0, 1, 0, 1):
                assert (await world.call(key, gateway=gateway)).status == 401


async def test_expiry_is_by_the_stores_clock(world: World, client: Redis) -> None:
    seconds, _ = await client.time()
    key = await world.issue(expires_at=seconds + 2)
    assert (await world.call(key)).status == 200
    await client.hset(world.record(key), "expires_at", str(seconds))
    assert (await world.call(key)).code == "key_expired"
