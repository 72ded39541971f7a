"""Rules that are tried out refuse nobody, weaken nothing else, and are told of."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.limits import Concurrency, Limits, Quota, Rate, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.settings import AccessLogSettings, StoreSettings
from tests.flows.audit import come, metric
from tests.flows.world import World, new_world

TRIED = Plan("tried", Limits(rate=Rate(1, 3600), concurrency=Concurrency(5)), enforced=False)
COUNTED = 'gateway_shadow_denials_total{code="%s"}'


@pytest.fixture
async def world(store: StoreSettings, client: Redis, tmp_path: Path) -> AsyncIterator[World]:
    access_log = AccessLogSettings(tmp_path / "access", as_json=True)
    async with new_world(store, client, access_log=access_log) as made:
        yield made


def route(path: str, action: str, *, public: bool = False, enforced: bool = True) -> Route:
    return Route(*parse_path(path), action, public=public, enforced=enforced)


def serve(world: World, *routes: Route, plan: Plan = TRIED) -> None:
    world.serve(world.agent(routes=routes or None), plans={plan.name: plan})


async def line_with_shadow(world: World, folder: Path) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            lines = (folder / "access").read_text().splitlines() if any(folder.iterdir()) else []
            told = [json.loads(line) for line in lines]
            if found := [line for line in told if "shadow" in line]:
                return found[0]
            await asyncio.sleep(0.05)


async def test_a_limit_that_is_tried_out_lets_in_and_is_told_everywhere(
    world: World, tmp_path: Path
) -> None:
    serve(world)
    key = await world.issue(plan="tried")
    answers = [await world.call(key) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    # A caller is told of what binds it.
    assert not [name for name in answers[-1].headers if "ratelimit" in name.lower()]
    assert await metric(world, COUNTED % "rate_limited") == 3
    assert await metric(world, 'gateway_denials_total{code="rate_limited"}') == 0
    line = await line_with_shadow(world, tmp_path)
    assert (line["shadow"], line["code"], line["status"]) == ("rate_limited", "", 200)
    (record,) = await come(world, "request.shadow", 1)
    assert (record["decision"], record["code"]) == ("shadow", "rate_limited")
    assert (record["key_id"], record["status"]) == (key.id, 200)


async def test_what_the_key_sets_itself_binds_whatever_its_plan_does(world: World) -> None:
    serve(world)
    key = await world.issue(plan="tried", limits="quota=2/d")
    answers = [await world.call(key) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == "quota_exhausted"
    # The rate is exceeded from the second on: the quota is charged all the same.
    assert answers[1].headers["RateLimit-Policy"] == '"day";q=2;w=86400'
    assert answers[1].headers["RateLimit"].startswith('"day";r=0;')


async def test_a_plan_that_is_tried_out_weakens_nothing_else(world: World) -> None:
    serve(world)
    key = await world.issue("agents/echo", plan="tried", users=("u1",))
    for _ in range(2):
        assert (await world.call(key)).status == 200
    assert (await world.call(key, headers={"X-User-Id": "u2"})).code == "user_denied"
    other = await world.issue("agents/other", plan="tried")
    assert (await world.call(other)).code == "scope_denied"
    for status, code in (("disabled", "key_disabled"), ("revoked", "key_revoked")):
        await world.client.hset(world.record(key), "status", status)
        assert (await world.call(key)).code == code
    gone = await world.issue(plan="nowhere")
    assert (await world.call(gone)).code == "key_misconfigured"


async def test_a_plan_that_is_enforced_again_binds_with_the_next_request(world: World) -> None:
    serve(world)
    key = await world.issue(plan="tried")
    for _ in range(3):
        assert (await world.call(key)).status == 200
    serve(world, plan=Plan("tried", TRIED.limits))
    refused = await world.call(key)
    # As if it had been enforced all along: what was let in beyond it has charged nothing.
    assert refused.code == "rate_limited"
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600


async def test_a_line_that_is_tried_out_leaves_the_decision_to_the_lines_below(
    world: World,
) -> None:
    serve(world, route("/admin/*", "admin", enforced=False), route("/**", "invoke"))
    path = "/agents/echo/admin/x"
    both = await world.issue("agents/echo")
    assert (await world.call(both, path)).status == 200
    assert await metric(world, COUNTED % "scope_denied") == 0
    only = await world.issue("agents/echo:invoke")
    assert (await world.call(only, path)).status == 200
    assert await metric(world, COUNTED % "scope_denied") == 1
    (record,) = await come(world, "request.shadow", 1)
    assert (record["key_id"], record["code"]) == (only.id, "scope_denied")
    # Whoever has only what is tried out was not let in before either.
    admin = await world.issue("agents/echo:admin")
    assert (await world.call(admin, path)).code == "scope_denied"
    assert (await world.call(None, path)).code == "key_missing"


async def test_a_line_that_is_tried_out_alone_is_for_keys_of_the_agent_and_never_for_strangers(
    world: World,
) -> None:
    serve(world, route("/admin", "admin", enforced=False))
    path = "/agents/echo/admin"
    key = await world.issue("agents/echo:chat")
    assert (await world.call(key, path)).status == 200
    assert await metric(world, COUNTED % "scope_denied") == 1
    other = await world.issue("agents/other")
    assert (await world.call(other, path)).code == "scope_denied"
    assert (await world.call(None, path)).code == "key_missing"
    await world.client.hset(world.record(key), "status", "revoked")
    assert (await world.call(key, path)).code == "key_revoked"
    assert (await world.call(other, "/agents/echo/x")).code == "not_found"


async def test_above_a_public_line_nothing_is_tried_out_for_keys_are_not_read_there(
    world: World,
) -> None:
    serve(world, route("/x", "x", enforced=False), route("/x", "", public=True))
    assert (await world.call(None, "/agents/echo/x")).status == 200
    assert await metric(world, COUNTED % "key_missing") == 0


async def test_a_quota_at_an_agent_of_a_plan_that_is_tried_out_is_counted_too(
    world: World,
) -> None:
    at = {"echo": Limits(quotas=(Quota(1, Window.DAY),))}
    serve(world, plan=Plan("tried", Limits(), at, enforced=False))
    key = await world.issue(plan="tried")
    assert [(await world.call(key)).status for _ in range(2)] == [200, 200]
    assert await metric(world, COUNTED % "quota_exhausted") == 1
