"""What operators and strangers were not let do stands in the audit as what it was."""

from typing import Any

import pytest

from gateway.domain.keys.key import Key
from tests.admin.conftest import Ask
from tests.flows.audit import come, records
from tests.flows.world import World


def told(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["key_id"], record["consumer"], record["code"]


async def test_what_a_key_may_not_do_to_keys_is_a_denial_on_record(
    world: World, ask: Ask, admin: Key
) -> None:
    reader = await world.issue("gateway/read", consumer="dashboards")
    wanted = {"consumer": "me", "scopes": ["gateway/admin"]}
    refused = [await ask(reader, "POST", "/keys", wanted) for _ in range(2)]
    assert [one.status for one in refused] == [403, 403]
    await world.client.hset(world.record(reader), "status", "revoked")
    refused.append(await ask(reader, "GET", "/keys"))
    assert refused[-1].status == 401
    found = await come(world, "request.denied", 3)
    codes = ["scope_denied", "scope_denied", "key_revoked"]
    assert [told(one) for one in found] == [(reader.id, "dashboards", code) for code in codes]
    assert [one["status"] for one in found] == [403, 403, 401]
    assert [one["request_id"] for one in found] == [r.headers["X-Request-Id"] for r in refused]
    assert (await ask(admin, "GET", "/keys")).status == 200
    assert len(await records(world, "request.denied")) == 3


async def test_a_key_that_may_not_sign_in_to_the_console_is_a_denial_on_record(
    world: World, admin: Key
) -> None:
    async def sign_in(key: Key) -> int:
        url = f"http://{world.gateways[0].admin.address}/console/login"
        async with world.session.post(
            url, data={"key": key.text}, headers={"Origin": url.removesuffix("/console/login")}
        ) as answer:
            return answer.status

    closed, caller, decoy = [await world.issue(consumer=name) for name in ("a", "b", "c")]
    await world.client.hset(world.record(closed), "status", "revoked")
    await world.client.hset(world.record(decoy), "status", "canary")
    assert [await sign_in(key) for key in (closed, caller, decoy)] == [401, 403, 401]
    found = await come(world, "request.denied", 2)
    assert [told(one) for one in found] == [
        (closed.id, "a", "key_revoked"),
        (caller.id, "b", "scope_denied"),
    ]
    (used,) = await come(world, "canary.key", 1)
    assert used["key_id"] == decoy.id


@pytest.mark.parametrize(
    ("act", "before", "code"),
    [
        (("PATCH", "", {"label": "x"}), {}, "changed"),
        (("DELETE", "", None), {}, "changed"),
        (("POST", "/enable", None), {"status": "revoked"}, "revoked"),
        (("POST", "/enable", None), {"status": "canary"}, "canary"),
    ],
)
async def test_an_act_that_came_to_nothing_is_on_record_as_refused(
    world: World,
    ask: Ask,
    admin: Key,
    act: tuple[str, str, Any],
    before: dict[str, str],
    code: str,
) -> None:
    """It was recorded before it was tried, so there are two."""
    key = await world.issue()
    if before:
        await world.client.hset(world.record(key), mapping=before)
    method, path, body = act
    tag = {} if before else {"If-Match": f'"{"0" * 40}"'}
    refused = await ask(admin, method, f"/keys/{key.id}{path}", body, tag)
    assert refused.status in (409, 412), refused.body
    tried, ended = [one for one in await records(world) if one["key_id"] == key.id]
    assert (tried["decision"], tried["code"]) == ("allowed", "")
    assert (ended["decision"], ended["code"]) == ("denied", code)
    assert tried["event"] == ended["event"] and told(ended)[1] == "sales"
    assert {one["request_id"] for one in (tried, ended)} == {refused.headers["X-Request-Id"]}
    assert tried["actor"] == ended["actor"] == f"key:{admin.id}"


async def test_a_revision_that_is_not_compared_is_not_ignored(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue()
    tag = {"If-Match": (await ask(admin, "GET", f"/keys/{key.id}")).headers["ETag"]}
    for path in ("rotate", "revoke", "disable"):
        refused = await ask(admin, "POST", f"/keys/{key.id}/{path}", None, tag)
        assert (refused.status, refused.json["code"]) == (400, "bad_request")
    weak = {"If-Match": f"W/{tag['If-Match']}"}
    assert (await ask(admin, "PATCH", f"/keys/{key.id}", {"label": "x"}, weak)).status == 412
    assert (await world.call(key)).status == 200
