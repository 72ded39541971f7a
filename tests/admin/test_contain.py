"""What keys and credentials may reach and did reach, told and ended in one act."""

import asyncio
import json
import time

from redis.asyncio import Redis

from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.domain.usage import Step
from tests.admin.conftest import Ask
from tests.flows.services import backend, keep, put, service
from tests.flows.ticking import read_on, ticking_world
from tests.flows.world import World
from tests.services.vaults import Vault

TOKEN = "s3cret-value-of-the-crm"
INJECT = {"headers": {"X-Token": "${credentials.crm_key}"}}


async def test_a_keys_reach_tells_what_it_may_and_what_it_did(
    world: World, ask: Ask, admin: Key
) -> None:
    async with backend() as crm:
        await keep(world, Vault(world.client), "crm_key", "api_key", value=TOKEN)
        put(world, service(crm, inject=INJECT))
        key = await world.issue("services/crm", "gateway/credentials:crm_key", consumer="shop")
        for _ in range(2):
            assert (await world.call(key, "/services/crm/x")).status == 200
        assert (await world.call(key, "/v1/credentials?names=crm_key")).status == 200
        told = (await ask(admin, "GET", f"/keys/{key.id}/reach")).json
        assert [(one["kind"], one["name"], one["credentials"]) for one in told["may"]] == [
            ("services", "crm", ["crm_key"]),
            ("gateway", "credentials", ["crm_key"]),
        ]
        other = await world.issue("services/crm")
        assert (await world.call(other, "/services/crm/x")).status == 200
        told = (await ask(admin, "GET", f"/keys/{key.id}/reach")).json
        used = {(one["place"], one["pulled"], one["count"]) for one in told["credentials"]}
        assert used == {("services/crm", False, 2), ("", True, 1)}
        assert (told["hindrance"], told["whole"], told["problem"]) == ("", True, "")
        credential = await ask(admin, "GET", "/credentials/crm_key/reach")
        assert credential.json["places"] == ["services/crm"]
        assert {one["key_id"] for one in credential.json["uses"]} == {key.id, other.id}
        assert TOKEN not in credential.body.decode()


async def test_what_hinders_a_key_is_told_beside_its_reach(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/echo")
    path = f"/keys/{key.id}/reach"
    await world.client.hset(world.record(key), "plan", "none-such")
    assert "no plan 'none-such'" in (await ask(admin, "GET", path)).json["hindrance"]
    await world.client.hset(world.record(key), mapping={"plan": "", "status": "disabled"})
    told = (await ask(admin, "GET", path)).json
    assert told["hindrance"] == "the key is disabled"
    assert [one["name"] for one in told["may"]] == ["echo"]


async def test_containing_a_key_cuts_its_open_streams(store: StoreSettings, client: Redis) -> None:
    async with ticking_world(store, client) as world:
        key, admin = await world.issue("agents/*"), await world.issue("gateway/admin")
        stream = f"{world.url}/agents/echo/ticks"
        mine = {"Authorization": f"Bearer {key.text}"}
        async with world.session.get(stream, headers=mine) as answer:
            await answer.content.readuntil(b"data: tick")
            url = f"http://{world.gateways[0].admin.address}/admin/v1/keys/{key.id}/contain"
            headers = {"Authorization": f"Bearer {admin.text}"}
            async with world.session.post(url, headers=headers) as done:
                assert (await done.json())["outcome"] == "revoked"
            async with asyncio.timeout(15):
                await read_on(answer)


async def test_a_key_is_contained_although_nothing_can_be_told_of_it(
    world: World, ask: Ask, admin: Key
) -> None:
    """The audit's place holds something else, so no record is written and none is read."""
    key = await world.issue("agents/*")
    await world.client.set(f"{world.store.prefix}audit", "no stream")
    told = await ask(admin, "POST", f"/keys/{key.id}/contain")
    assert (told.status, told.json["outcome"], told.json["whole"]) == (200, "revoked", False)
    assert told.json["problem"]
    assert (await world.call(key)).code == "key_revoked"
    await world.client.delete(f"{world.store.prefix}audit")


async def test_a_key_is_contained_though_redis_is_full_and_its_end_is_told(
    world: World, ask: Ask, admin: Key
) -> None:
    """Then its record is deleted, and there is none to tell of."""
    key = await world.issue("agents/*")
    await world.client.config_set("maxmemory", 1)
    try:
        told = await ask(admin, "POST", f"/keys/{key.id}/contain")
    finally:
        await world.client.config_set("maxmemory", 0)
    assert (told.status, told.json["outcome"]) == (200, "deleted"), told.body
    assert (told.json["hindrance"], told.json["may"]) == ("the key is deleted", [])
    assert (await world.call(key)).code == "key_invalid"


async def test_what_was_counted_cannot_be_told_and_that_is_said(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    day = Step.DAY.start(time.time())
    await world.client.set(f"{world.store.prefix}usage:{{{key.id}}}:day:{day}", "no hash")
    told = (await ask(admin, "GET", f"/keys/{key.id}/reach")).json
    assert (told["whole"], told["reached"]) == (False, {}) and told["problem"]


async def test_containing_a_credential_ends_the_old_value_and_names_its_users(
    world: World, ask: Ask, admin: Key
) -> None:
    async with backend() as crm:
        await keep(world, Vault(world.client), "crm_key", "api_key", value=TOKEN)
        put(world, service(crm, inject=INJECT))
        key = await world.issue("services/crm")
        await world.call(key, "/services/crm/x")
        body = {"fields": {"value": f"{TOKEN}-2"}}
        told = await ask(admin, "POST", "/credentials/crm_key/contain", body)
        assert (told.status, told.json["credential"]["version"]) == (200, 2)
        assert told.json["credential"]["grace_until"] is None
        assert [one["key_id"] for one in told.json["uses"]] == [key.id]
        assert TOKEN not in told.body.decode()
        async with asyncio.timeout(15):
            while crm.last.headers["x-token"] != [f"{TOKEN}-2"]:
                await world.call(key, "/services/crm/x")
        # One row for all its calls, with both versions, the newest first.
        reach = (await ask(admin, "GET", "/credentials/crm_key/reach")).json
        assert [one["versions"] for one in reach["uses"]] == [[2, 1]]
        nothing = await ask(admin, "POST", "/credentials/crm_key/contain", {"fields": {}})
        assert (nothing.status, nothing.json["errors"][0]["field"]) == (422, "fields")
        unknown = await ask(admin, "POST", "/credentials/none_such/contain", body)
        assert unknown.status == 404


async def test_records_that_make_no_sense_are_passed_over(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    for credentials in (None, "x", [1], [{"name": 5}], [{"name": "a", "version": "b"}], {"a": 1}):
        record = {"event": "credential.use", "key_id": key.id, "ts": 1, "credentials": credentials}
        entry = {"record": json.dumps(record)}
        await world.client.xadd(f"{world.store.prefix}audit", entry)
    await world.client.xadd(f"{world.store.prefix}audit", {"record": f'"{key.id}'})
    told = await ask(admin, "GET", f"/keys/{key.id}/reach")
    assert (told.status, told.json["credentials"], told.json["whole"]) == (200, [], True)


async def test_of_many_records_the_newest_are_looked_at_and_it_says_so(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    used = {"event": "credential.use", "key_id": key.id, "agent": "services/a", "ts": 5}
    used["credentials"] = [{"name": "crm_key", "version": 1}]
    stream = f"{world.store.prefix}audit"
    pipeline = world.client.pipeline(transaction=False)
    pipeline.xadd(stream, {"record": json.dumps(used | {"agent": "services/long-ago"})})
    for _ in range(20_000):
        pipeline.xadd(stream, {"record": '{"event": "other"}'})
    pipeline.xadd(stream, {"record": json.dumps(used)})
    await pipeline.execute()
    told = (await ask(admin, "GET", f"/keys/{key.id}/reach")).json
    assert [one["place"] for one in told["credentials"]] == ["services/a"]
    assert told["whole"] is False
