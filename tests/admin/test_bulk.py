"""One act on many keys: what it would do, what it did, and never more than it said."""

import pytest

from gateway.admin import bulk
from gateway.domain.keys.key import Key
from gateway.services.keys.bulk import Act
from tests.admin.conftest import Ask
from tests.flows.many_keys import many_keys
from tests.flows.world import World

MISSING = "000000000000"


async def outcomes(ask: Ask, admin: Key, **body: object) -> dict[str, str]:
    told = await ask(admin, "POST", "/keys/bulk", body)
    assert told.status == 200, told.body
    return {one["id"]: one["outcome"] for one in told.json["results"]}


async def test_a_dry_run_changes_nothing_and_says_what_would_be(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue()
    wanted = {"act": "revoke", "ids": [key.id, MISSING], "dry_run": True}
    assert await outcomes(ask, admin, **wanted) == {key.id: "would revoke", MISSING: "refused"}
    assert (await world.call(key)).status == 200
    records = (await ask(admin, "GET", f"/audit?key={key.id}&event=key.revoke")).json["records"]
    assert records == []


async def test_a_list_of_keys_is_acted_on_key_by_key_and_each_is_on_record(
    world: World, ask: Ask, admin: Key
) -> None:
    first, second, bystander = [await world.issue() for _ in range(3)]
    ids = [first.id, second.id]
    for act, outcome, code in (
        ("disable", "disabled", "key_disabled"),
        ("enable", "enabled", None),
        ("revoke", "revoked", "key_revoked"),
    ):
        assert set((await outcomes(ask, admin, act=act, ids=[*ids, MISSING])).values()) == {
            outcome,
            "refused",
        }
        for key in (first, second):
            answer = await world.call(key)
            assert (answer.status == 200) if code is None else (answer.code == code)
            found = (await ask(admin, "GET", f"/audit?key={key.id}&event=key.{act}")).json
            assert [one["actor"] for one in found["records"]] == [f"key:{admin.id}"]
    assert (await world.call(bystander)).status == 200
    assert (await ask(admin, "GET", f"/audit?key={MISSING}")).json["records"] == []


async def test_a_consumers_keys_are_those_that_the_act_is_about(
    world: World, ask: Ask, admin: Key
) -> None:
    revoked, disabled, active = [await world.issue(consumer="shop") for _ in range(3)]
    other = await world.issue(consumer="shopping")
    await world.client.hset(world.record(revoked), "status", "revoked")
    await world.client.hset(world.record(disabled), "status", "disabled")
    assert set(await outcomes(ask, admin, act="enable", consumer="shop")) == {disabled.id}
    wanted = {active.id, disabled.id}
    assert set(await outcomes(ask, admin, act="revoke", consumer="shop")) == wanted
    assert await outcomes(ask, admin, act="rotate", consumer="shop") == {}
    assert (await world.call(other)).status == 200
    unknown = await ask(admin, "POST", "/keys/bulk", {"act": "revoke", "consumer": "shoping"})
    assert (unknown.status, "Did you mean" in unknown.json["detail"]) == (409, True)


async def test_rotated_keys_are_shown_once_and_the_old_ones_have_their_grace(
    world: World, ask: Ask, admin: Key
) -> None:
    old = await world.issue()
    body = {"act": "rotate", "ids": [old.id], "grace": "1h"}
    told = await ask(admin, "POST", "/keys/bulk", body, {"Idempotency-Key": "once"})
    (first,) = told.json["results"]
    assert first["outcome"] == "rotated"
    assert (await world.call(first["key"])).status == 200
    # Its answer was lost: a repeat gives the same keys another secret, and the grace stays.
    again = await ask(admin, "POST", "/keys/bulk", body, {"Idempotency-Key": "once"})
    (second,) = again.json["results"]
    assert (await world.call(first["key"])).code == "key_invalid"
    assert (await world.call(second["key"])).status == 200
    assert (await world.call(old)).status == 200
    shown = (await ask(admin, "GET", f"/keys/{old.id}")).body.decode()
    assert second["key"] not in shown


async def test_a_repeat_reaches_no_key_that_was_made_since(
    world: World, ask: Ask, admin: Key
) -> None:
    first = await world.issue(consumer="shop")
    body, once = {"act": "revoke", "consumer": "shop"}, {"Idempotency-Key": "order-9"}
    assert (await ask(admin, "POST", "/keys/bulk", body, once)).status == 200
    later = await world.issue(consumer="shop")
    again = (await ask(admin, "POST", "/keys/bulk", body, once)).json["results"]
    assert [(one["id"], one["outcome"]) for one in again] == [(first.id, "unchanged")]
    assert (await world.call(later)).status == 200
    other = await ask(admin, "POST", "/keys/bulk", {**body, "act": "disable"}, once)
    assert (other.status, (await world.call(later)).status) == (409, 200)


async def test_a_repeat_goes_on_where_the_first_did(
    world: World, ask: Ask, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost: what it closed is no longer chosen, what follows is still to be done."""
    monkeypatch.setattr(bulk, "MOST", dict.fromkeys(Act, 2))
    keys = [await world.issue(consumer="shop") for _ in range(5)]
    body, after = {"act": "revoke", "consumer": "shop"}, ""
    for part in ("a", "b", "c"):
        sent = {**body, "after": after}, {"Idempotency-Key": f"order-{part}"}
        first = (await ask(admin, "POST", "/keys/bulk", *sent)).json
        again = (await ask(admin, "POST", "/keys/bulk", *sent)).json
        assert again["next"] == first["next"]
        after = again["next"]
    assert after is None
    assert {(await world.call(key)).code for key in keys} == {"key_revoked"}


async def test_more_keys_than_one_request_takes_come_in_parts(
    world: World, ask: Ask, admin: Key
) -> None:
    wanted = {key.id for key in await many_keys(world.client, 1200)}
    found: list[str] = []
    body = {"act": "disable", "consumer": "sales", "dry_run": True, "after": ""}
    while body["after"] is not None:
        told = (await ask(admin, "POST", "/keys/bulk", body)).json
        assert len(told["results"]) <= 500
        found += (one["id"] for one in told["results"])
        body["after"] = told["next"]
    assert (len(found), set(found)) == (1200, wanted)


@pytest.mark.parametrize(
    "body",
    [
        {"act": "revoke"},
        {"act": "revoke", "ids": [MISSING], "consumer": "sales"},
        {"act": "delete", "ids": [MISSING]},
        {"act": "revoke", "ids": ["*"]},
        {"act": "rotate", "ids": [f"{number:012d}" for number in range(51)]},
        {"act": "revoke", "ids": [f"{number:012d}" for number in range(501)]},
        {"act": "rotate", "ids": [MISSING], "grace": "soon"},
    ],
)
async def test_what_cannot_be_meant_is_refused_whole(
    ask: Ask, admin: Key, body: dict[str, object]
) -> None:
    assert (await ask(admin, "POST", "/keys/bulk", body)).status == 422


async def test_whoever_may_make_keys_takes_over_none_with_powers(
    world: World, ask: Ask, admin: Key
) -> None:
    maker, plain = await world.issue("gateway/keys"), await world.issue()
    for act in ("rotate", "enable"):
        told = await ask(maker, "POST", "/keys/bulk", {"act": act, "ids": [admin.id, plain.id]})
        first, second = told.json["results"]
        assert (first["outcome"], first["key"]) == ("refused", "")
        assert second["outcome"] != "refused"
    assert (await ask(admin, "GET", "/keys")).status == 200
    await outcomes(ask, maker, act="revoke", ids=[admin.id])
    assert (await ask(admin, "GET", "/keys")).json["code"] == "key_revoked"
