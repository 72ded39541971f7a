"""`/v1/credentials`: an agent's key gets the credentials that it names, the newest, no other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.limits import Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.settings import StoreSettings, VaultSettings
from tests.flows.audit import records
from tests.flows.own_store import OwnStore, own_store
from tests.flows.services import seen
from tests.flows.world import MASTER, Answer, World, new_world
from tests.services.vaults import Vault

SCOPES = ("gateway/credentials:crm", "gateway/credentials:openai_key")
BOTH = "/v1/credentials?names=crm,openai_key"


@pytest.fixture
async def vault(world: World, client: Redis) -> Vault:
    made = Vault(client)
    for name in ("crm", "openai_key", "other", "user/alice/crm"):
        await made.write(name)
    await seen(world, "other")
    return made


def values(answer: Answer) -> dict[str, str]:
    return {one["name"]: one["fields"]["value"] for one in answer.json["credentials"]}


async def test_a_key_gets_what_its_scopes_name_and_then_only_what_changed(
    world: World, vault: Vault
) -> None:
    key = await world.issue(*SCOPES)
    first = await world.call(key, BOTH)
    assert first.status == 200
    assert values(first) == {"crm": "crm-1", "openai_key": "openai_key-1"}
    assert first.json["removed"] == []
    assert first.headers["Cache-Control"] == "no-store"
    revision = first.json["revision"]
    assert (await world.call(key, f"{BOTH}&since={revision}")).status == 304
    await vault.write("other", 2)
    await seen(world, "other", 2)
    assert (await world.call(key, f"{BOTH}&since={revision}")).status == 304
    await vault.write("crm", 2, grace=int(time.time()) + 60)
    await seen(world, "crm", 2)
    second = await world.call(key, f"{BOTH}&since={revision}")
    assert values(second) == {"crm": "crm-2"}
    (crm,) = second.json["credentials"]
    assert crm["previous"]["fields"] == {"value": "crm-1"} and crm["version"] == 2
    assert second.json["revision"] > revision


async def test_an_etag_does_as_well_as_a_revision(world: World, vault: Vault) -> None:
    key = await world.issue(*SCOPES)
    first = await world.call(key, BOTH)
    same = {"If-None-Match": first.headers["ETag"]}
    answer = await world.call(key, BOTH, headers=same)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == first.headers["ETag"]
    await vault.write("crm", 2)
    await seen(world, "crm", 2)
    assert values(await world.call(key, BOTH, headers=same)) == {"crm": "crm-2"}


@pytest.mark.parametrize("tags", ["W/{}", '"0", {}', '{},W/"a,b"', '"a",  {}, "b"', "*"])
async def test_nothing_is_told_where_one_of_several_etags_is_the_present_one(
    world: World, vault: Vault, tags: str
) -> None:
    key = await world.issue(*SCOPES)
    tag = (await world.call(key, BOTH)).headers["ETag"]
    same = {"If-None-Match": tags.format(tag)}
    answer = await world.call(key, BOTH, headers=same)
    assert (answer.status, answer.headers["ETag"]) == (304, tag)


@pytest.mark.parametrize("tags", ['"a", W/"b"', '"0", "1"', '"9999999999999999x"', "", "a"])
async def test_what_is_there_is_told_where_no_etag_is_the_present_one(
    world: World, vault: Vault, tags: str
) -> None:
    key = await world.issue(*SCOPES)
    answer = await world.call(key, BOTH, headers={"If-None-Match": tags})
    assert answer.status == 200 and values(answer)


async def test_what_is_deleted_is_told_as_removed(world: World, vault: Vault) -> None:
    key = await world.issue("gateway/credentials")
    first = await world.call(key, BOTH)
    await vault.delete("crm")
    path = f"{BOTH}&since={first.json['revision']}&wait=10"
    answer = await world.call(key, path)
    assert answer.json["removed"] == ["crm"] and answer.json["credentials"] == []


@pytest.mark.parametrize(
    ("scopes", "names", "needed"),
    [
        (SCOPES, "crm,other", "gateway/credentials:other"),
        (SCOPES[:1], "openai_key,crm", "gateway/credentials:openai_key"),
        (SCOPES, "nothing_like_it", "gateway/credentials:nothing_like_it"),
        (("*",), "crm", "gateway/credentials:crm"),
        (("gateway/*",), "crm", "gateway/credentials:crm"),
        (("gateway/admin",), "crm", "gateway/credentials:crm"),
    ],
)
async def test_a_name_out_of_scope_is_refused_and_the_scope_is_told(
    scopes: tuple[str, ...], names: str, needed: str, world: World, vault: Vault
) -> None:
    key = await world.issue("agents/echo")
    await world.client.hset(world.record(key), "scopes", " ".join(scopes))
    answer = await world.call(key, f"/v1/credentials?names={names}")
    assert (answer.status, answer.code) == (403, "scope_denied")
    assert answer.json["error"]["required_scope"] == needed
    assert "crm-1" not in answer.body.decode()


async def test_a_scope_without_a_name_is_for_all_shared_ones_and_for_no_users(
    world: World, vault: Vault
) -> None:
    key = await world.issue("gateway/credentials", users=("*",))
    answer = await world.call(key, "/v1/credentials?names=crm,other,openai_key")
    assert len(values(answer)) == 3
    for names in ("user/alice/crm", "crm,user/alice/crm", "user%2Falice%2Fcrm", "user/"):
        for headers in ({}, {"X-User-Id": "alice"}):
            answer = await world.call(key, f"/v1/credentials?names={names}", headers=headers)
            assert (answer.status, answer.code) == (403, "scope_denied")
            assert b"alice/crm-1" not in answer.body


@pytest.mark.parametrize(
    "query",
    [
        *("", "?", "?names=", "?names=,", "?name=crm", "?names=Crm", "?names=c%20rm", "?names=c/d"),
        *("?names=crm&names=openai_key", "?names=crm&since=soon", "?names=crm&since=-1"),
        *("?names=crm&wait=long", "?names=crm&wait=-1", "?names=%FF", "?names=" + "ab," * 201),
        *("?names=crm&wait=5x", "?names=crm&wait=1.", "?names=crm&wait=1e3", "?names=crm&since=1x"),
        "?names=" + ",".join(f"c{i}" for i in range(201)),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_once_the_key_is_known(
    query: str, world: World, vault: Vault
) -> None:
    path = f"/v1/credentials{query}"
    answer = await world.call(await world.issue(*SCOPES), path)
    assert (answer.status, answer.code) == (400, "bad_request") or "ab,ab" in query
    assert (await world.call(None, path)).code == "key_missing"


async def test_without_a_living_key_nothing_is_told(world: World, vault: Vault) -> None:
    key = await world.issue(*SCOPES)
    assert (await world.call(None, BOTH)).code == "key_missing"
    assert (await world.call(key.text[:-1], BOTH)).code == "key_invalid"
    await world.client.hset(world.record(key), "status", "revoked")
    assert (await world.call(key, BOTH)).code == "key_revoked"


async def test_only_reading_is_possible(world: World, vault: Vault) -> None:
    key = await world.issue(*SCOPES)
    for path in (BOTH, "/v1/credentials"):
        answer = await world.call(key, path, "POST", data=b"{}")
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, HEAD"
    head = await world.call(key, BOTH, "HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_a_pull_is_charged_as_any_request(world: World, vault: Vault) -> None:
    world.serve(plans={"few": Plan("few", Limits(None, None, (Quota(3, Window.DAY),), None))})
    key = await world.issue(*SCOPES, plan="few")
    answers = [await world.call(key, BOTH) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"day";r=2')
    refused = await world.call(await world.issue("agents/echo", plan="few"), BOTH)
    assert refused.status == 403


async def test_a_host_that_is_an_agents_keeps_this_path_too(world: World, vault: Vault) -> None:
    world.serve(world.agent(hosts=("agent.example",)))
    key = await world.issue("agents/echo", *SCOPES)
    answer = await world.call(key, BOTH, headers={"Host": "agent.example"})
    assert answer.json["path"] == BOTH
    assert values(await world.call(key, BOTH))["crm"] == "crm-1"


async def test_a_pull_gives_its_place_back_whatever_it_is_answered(
    world: World, vault: Vault
) -> None:
    key = await world.issue(*SCOPES, limits="concurrency=1")
    revision = (await world.call(key, BOTH)).json["revision"]
    for path, status in ((BOTH, 200), (f"{BOTH}&since={revision}", 304)):
        async with asyncio.timeout(5):
            while await world.client.zcard(f"gw:lease:{{{key.id}}}"):
                await asyncio.sleep(0.01)
        assert (await world.call(key, path)).status == status


class TestLongPoll:
    async def test_an_answer_is_held_back_until_something_changes(
        self, world: World, vault: Vault
    ) -> None:
        key = await world.issue(*SCOPES)
        first = await world.call(key, BOTH)
        path = f"{BOTH}&since={first.json['revision']}"
        for more, headers in (("&wait=30", {}), ("", {"Prefer": "respond-async, wait=30"})):
            version = await self._next(world)
            waiting = asyncio.create_task(world.call(key, path + more, headers=headers))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await vault.write("other", version)
            await seen(world, "other", version)
            assert not waiting.done(), "what it did not ask for wakes nobody"
            await vault.write("crm", version)
            async with asyncio.timeout(10):
                answer = await waiting
            assert values(answer) == {"crm": f"crm-{version}"}
            path = f"{BOTH}&since={answer.json['revision']}"

    async def _next(self, world: World) -> int:
        return 1 + max(
            one.current.number for one in world.gateways[0].base.credentials.known.values()
        )

    async def test_it_ends_after_the_time_that_was_asked_for(
        self, world: World, vault: Vault
    ) -> None:
        key = await world.issue(*SCOPES)
        first = await world.call(key, BOTH)
        began = time.monotonic()
        answer = await world.call(key, f"{BOTH}&since={first.json['revision']}&wait=0.5")
        assert answer.status == 304 and 0.4 < time.monotonic() - began < 5

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("status", "revoked", "key_revoked"),
            ("scopes", "gateway/credentials:crm", "scope_denied"),
            ("expires_at", "1", "key_expired"),
        ],
    )
    async def test_a_key_that_dies_meanwhile_gets_nothing(
        self, field: str, value: str, code: str, world: World, vault: Vault
    ) -> None:
        key = await world.issue(*SCOPES)
        first = await world.call(key, BOTH)
        path = f"{BOTH}&since={first.json['revision']}&wait=30"
        waiting = asyncio.create_task(world.call(key, path))
        await asyncio.sleep(0.2)
        await world.client.hset(world.record(key), field, value)
        await vault.write("crm", 2)
        async with asyncio.timeout(10):
            answer = await waiting
        assert answer.code == code and b"crm-2" not in answer.body

    async def test_a_drain_does_not_wait_for_it(self, world: World, vault: Vault) -> None:
        key = await world.issue(*SCOPES)
        first = await world.call(key, BOTH)
        path = f"{BOTH}&since={first.json['revision']}&wait=60"
        waiting = asyncio.create_task(world.call(key, path))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            assert await world.gateways[0].drain(30.0) == 0
            assert (await waiting).status == 304


async def test_every_read_has_its_record_before_the_answer(world: World, vault: Vault) -> None:
    key = await world.issue(*SCOPES)
    answer = await world.call(key, BOTH)
    (record,) = await records(world)
    assert record["event"] == "credential.read" and record["key_id"] == key.id
    assert record["request_id"] == answer.headers["X-Request-Id"]
    assert record["credentials"] == [
        {"name": "crm", "version": 1},
        {"name": "openai_key", "version": 1},
    ]
    assert "crm-1" not in json.dumps(record)
    await world.call(key, f"{BOTH}&since={answer.json['revision']}")
    assert await world.client.xlen("gw:audit") == 1, "nothing was read"


@pytest.mark.denial("audit_unavailable")
async def test_what_cannot_be_recorded_is_not_told(world: World, vault: Vault) -> None:
    key = await world.issue(*SCOPES)
    await world.client.set("gw:audit", "no stream")
    answer = await world.call(key, BOTH)
    assert (answer.status, answer.code) == (503, "audit_unavailable")
    assert b"crm-1" not in answer.body
    await world.client.delete("gw:audit")
    assert (await world.call(key, BOTH)).status == 200


@pytest.fixture
async def apart(
    store: StoreSettings, client: Redis
) -> AsyncIterator[tuple[World, Vault, OwnStore]]:
    """A gateway whose vault is in a Redis of its own."""
    async with own_store() as own:
        vault = Vault(own.client)
        await vault.write("crm")
        await vault.write("fresh", max_stale=0)
        settings = VaultSettings(own.settings.url, (MASTER,), 0.1)
        async with new_world(store, client, vault=settings) as world:
            yield world, vault, own


async def test_a_vault_that_is_away_fails_no_pull_that_the_cache_can_serve(
    apart: tuple[World, Vault, OwnStore],
) -> None:
    world, _, own = apart
    key = await world.issue("gateway/credentials")
    path = "/v1/credentials?names=crm,fresh"
    assert values(await world.call(key, path)) == {"crm": "crm-1", "fresh": "fresh-1"}
    own.kill()
    answers = [await world.call(key, path) for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    await asyncio.sleep(1.1)
    answer = await world.call(key, path)
    assert values(answer) == {"crm": "crm-1"} and answer.json["unavailable"] == ["fresh"]
    await own.start()
    async with asyncio.timeout(10):
        while (await world.call(key, path)).json["unavailable"] != []:
            await asyncio.sleep(0.1)


async def test_what_must_be_fresh_is_looked_at_again_at_the_end_of_a_wait(
    apart: tuple[World, Vault, OwnStore],
) -> None:
    world, _, own = apart
    key = await world.issue("gateway/credentials")
    path = "/v1/credentials?names=fresh"
    since = f"{path}&since={(await world.call(key, path)).json['revision']}&wait=2.5"
    assert (await world.call(key, since)).status == 304
    waiting = asyncio.create_task(world.call(key, since))
    await asyncio.sleep(0.2)
    own.kill()
    answer = await waiting
    assert answer.status == 200 and answer.json["unavailable"] == ["fresh"]


async def test_a_gateway_whose_vault_never_answered_is_not_ready_and_says_so(
    store: StoreSettings, client: Redis
) -> None:
    nowhere = VaultSettings("redis://127.0.0.1:1", (MASTER,), 0.1)
    async with new_world(store, client, vault=nowhere) as world:
        ready: Any = await world.call(None, "/readyz")
        assert (ready.status, ready.json["missing"]) == (503, ["credentials"])
        answer = await world.call(await world.issue(*SCOPES), BOTH)
        assert (answer.status, answer.code) == (503, "credential_unavailable")
        assert (await world.call(await world.issue("agents/echo"))).status == 200
