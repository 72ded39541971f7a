"""The admin API does what the commands do, for keys that may, and every act is on record."""

import asyncio
import json
import os
import re
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from redis.asyncio import Redis

from gateway.admin.audit import EVENTS
from gateway.admin.routes import ROUTES
from gateway.admin.routing import ADMIN, Route
from gateway.domain.audit.record import ALLOWED, DENIED, SHADOW
from gateway.domain.keys.key import Key, parse
from gateway.domain.keys.limits import Limits
from gateway.domain.policies.plans import Plan
from gateway.domain.settings import StoreSettings
from gateway.store.audit import AuditStore
from tests.admin.conftest import Ask, live_files
from tests.flows.many_keys import many_keys
from tests.flows.services import keep, put
from tests.flows.world import Answer, World, new_world
from tests.services.vaults import Vault

POWERS = ("admin", "keys", "credentials-write", "audit", "read")
PROBLEM = "application/problem+json"
SALES = {"consumer": "sales", "scopes": ["agents/*"]}


def spelled(route: Route) -> str:
    return re.sub(r"\{\w+\}", "aaaaaaaaaaaa", route.path)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_route_is_for_the_powers_that_it_names_and_no_others(
    world: World, ask: Ask, route: Route
) -> None:
    assert (await ask(None, route.method, spelled(route))).json["code"] == "key_missing"
    outsider = await world.issue("agents/*", "models/*", "gateway/credentials")
    assert (await ask(outsider, route.method, spelled(route))).status == 403
    for power in POWERS:
        key = await world.issue(f"gateway/{power}")
        if route.media == EVENTS and power in (ADMIN, *route.powers):
            # It has no end; that it is for these is shown by who reads it.
            continue
        status = (await ask(key, route.method, spelled(route), json={})).status
        assert (status == 403) is (power not in (ADMIN, *route.powers)), (power, status)
        assert status < 500


async def test_a_key_made_here_works_until_it_is_revoked_here(
    world: World, ask: Ask, admin: Key
) -> None:
    made = await ask(admin, "POST", "/keys", SALES)
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert (await world.call(made.json["key"])).status == 200
    revoked = await ask(admin, "POST", f"/keys/{made.json['id']}/revoke")
    assert revoked.json["outcome"] == "revoked"
    assert (await world.call(made.json["key"])).code == "key_revoked"
    again = await ask(admin, "POST", f"/keys/{made.json['id']}/rotate", {})
    assert (await world.call(again.json["key"])).status == 200


async def test_a_key_made_without_a_plan_has_the_limits_of_the_one_named_default(
    world: World, ask: Ask, admin: Key
) -> None:
    assert (await ask(admin, "POST", "/keys", SALES)).json["plan"] is None
    world.serve(world.agent(), plans={"default": Plan("default", Limits())})
    made = (await ask(admin, "POST", "/keys", SALES)).json
    assert made["plan"] == "default"
    assert (await ask(admin, "POST", "/keys", {**SALES, "plan": ""})).json["plan"] is None
    changed = await ask(admin, "PATCH", f"/keys/{made['id']}", {"plan": ""})
    assert changed.json["plan"] is None
    again = await ask(admin, "PATCH", f"/keys/{made['id']}", {"label": "one"})
    assert again.json["plan"] is None


async def test_a_power_that_is_taken_away_is_gone_with_the_next_request(
    world: World, ask: Ask, admin: Key
) -> None:
    assert (await ask(admin, "GET", "/keys")).status == 200
    await world.client.hset(world.record(admin), "status", "revoked")
    assert (await ask(admin, "GET", "/keys")).json["code"] == "key_revoked"


async def test_no_hash_no_tag_and_no_old_secret_is_in_any_answer(
    world: World, ask: Ask, admin: Key
) -> None:
    made = (await ask(admin, "POST", "/keys", SALES)).json
    record = await world.client.hgetall(f"{world.store.prefix}key:{{{made['id']}}}")
    for path in (
        "/keys",
        f"/keys/{made['id']}",
        f"/keys/{made['id']}/reach",
        "/audit",
        "/policies",
    ):
        body = (await ask(admin, "GET", path)).body.decode()
        for secret in (made["key"], record["hash"], record["tag"], admin.text):
            assert secret not in body


async def test_an_update_of_what_somebody_else_changed_is_refused(ask: Ask, admin: Key) -> None:
    made = (await ask(admin, "POST", "/keys", SALES)).json
    path = f"/keys/{made['id']}"
    tag = (await ask(admin, "GET", path)).headers["ETag"]
    first = await ask(admin, "PATCH", path, {"label": "one"}, {"If-Match": tag})
    assert first.json["label"] == "one"
    second = await ask(admin, "PATCH", path, {"label": "two"}, {"If-Match": tag})
    assert (second.status, second.json["code"]) == (412, "changed")
    third = await ask(admin, "PATCH", path, {"label": "two"}, {"If-Match": first.headers["ETag"]})
    assert third.json["label"] == "two"
    assert (await ask(admin, "DELETE", path, headers={"If-Match": tag})).status == 412
    assert (await ask(admin, "DELETE", path)).status == 200
    assert (await ask(admin, "GET", path)).status == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_of_changes_at_once_that_expect_the_same_record_one_wins(
    world: World, ask: Ask, admin: Key, method: str
) -> None:
    """Each compares as it writes; comparing before it would let several through."""
    for _ in range(5):
        key = await world.issue()
        path = f"/keys/{key.id}"
        tag = {"If-Match": (await ask(admin, "GET", path)).headers["ETag"]}
        bodies = [{"label": f"{number}"} if method == "PATCH" else None for number in range(12)]
        sent = [ask(admin, method, path, body, tag) for body in bodies]
        statuses = sorted(answer.status for answer in await asyncio.gather(*sent))
        assert statuses[0] == 200
        assert set(statuses[1:]) <= ({412} if method == "PATCH" else {404, 409, 412})


async def test_a_key_that_is_used_stays_as_it_was_for_its_operator(
    world: World, ask: Ask, admin: Key
) -> None:
    """The gateway writes a tag at the first use of a key that has none."""
    key = await world.issue()
    path, record = f"/keys/{key.id}", world.record(key)
    await world.client.hset(record, mapping={"tag": "", "label": b"\xff no text"})
    tag = (await ask(admin, "GET", path)).headers["ETag"]
    assert (await world.call(key)).status == 200
    async with asyncio.timeout(15):
        while not await world.client.hget(record, "tag"):
            await asyncio.sleep(0.02)
    for wanted in ('"none"', f'"{"0" * 40}"', "nonsense"):
        refused = await ask(admin, "PATCH", path, {"plan": ""}, {"If-Match": wanted})
        assert refused.status == 412
    both = f'"{"0" * 40}", {tag}'
    assert (await ask(admin, "PATCH", path, {"label": "x"}, {"If-Match": both})).status == 200
    assert (await ask(admin, "PATCH", path, {"label": "y"}, {"If-Match": "*"})).status == 200


async def test_a_repeat_with_an_idempotency_key_makes_no_second_key(ask: Ask, admin: Key) -> None:
    marked = {"Idempotency-Key": "order-7"}
    first = (await ask(admin, "POST", "/keys", SALES, marked)).json
    second = (await ask(admin, "POST", "/keys", SALES, marked)).json
    assert first["id"] == second["id"]
    other = await ask(admin, "POST", "/keys", {**SALES, "label": "x"}, marked)
    assert other.status == 409
    found = (await ask(admin, "GET", "/keys?consumer=sales")).json["keys"]
    assert [key["id"] for key in found] == [first["id"]]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/keys", "Idempotency-Key"),
        ("POST", "/keys/{id}/rotate", "Idempotency-Key"),
        ("PATCH", "/keys/{id}", "If-Match"),
        ("DELETE", "/keys/{id}", "If-Match"),
    ],
)
async def test_a_guard_that_is_empty_lets_nothing_be_done(
    world: World, ask: Ask, admin: Key, method: str, path: str, name: str
) -> None:
    key = await world.issue(consumer="hr")
    before = await world.client.hgetall(world.record(key))
    body = {"POST": SALES if path == "/keys" else {}, "PATCH": {"label": "x"}, "DELETE": None}
    refused = await ask(admin, method, path.format(id=key.id), body[method], {name: ""})
    assert (refused.status, refused.json["code"]) == (400, "bad_request")
    assert name in refused.json["detail"]
    assert await world.client.hgetall(world.record(key)) == before
    assert (await ask(admin, "GET", "/keys?consumer=sales")).json["keys"] == []


async def test_a_revision_where_none_is_compared_lets_nothing_be_done(ask: Ask, admin: Key) -> None:
    refused = await ask(admin, "POST", "/keys", SALES, {"If-Match": '"1"'})
    assert (refused.status, refused.json["code"]) == (400, "bad_request")
    assert (await ask(admin, "GET", "/keys?consumer=sales")).json["keys"] == []


async def test_pages_hold_every_key_once(world: World, ask: Ask, admin: Key) -> None:
    wanted = {key.id for key in await many_keys(world.client, 1200)}
    found: list[str] = []
    after = ""
    while True:
        page = (await ask(admin, "GET", f"/keys?consumer=sales&limit=500&after={after}")).json
        found += (key["id"] for key in page["keys"])
        after = page["next"]
        if after is None:
            break
    assert len(found) == len(set(found))
    assert set(found) == wanted


@pytest.mark.parametrize(
    ("method", "path", "body", "bad"),
    [
        ("POST", "/keys", {}, {"consumer", "scopes"}),
        ("POST", "/keys", {**SALES, "scopes": "agents/*"}, {"scopes"}),
        ("POST", "/keys", {**SALES, "colour": "red"}, {"colour"}),
        ("POST", "/keys", {**SALES, "plan": "none-such"}, {"plan"}),
        ("POST", "/keys", {**SALES, "expires": "soon"}, {"expires"}),
        (
            "POST",
            "/keys",
            {
                "consumer": "",
                "scopes": ["agents/a", "no scope"],
                "plan": "a b",
                "limits": "rate=often",
                "users": ["a b"],
                "label": "two\nlines",
                "expires": "2001-01-32",
                "env": "prod",
                "colour": "red",
            },
            {
                "consumer",
                "scopes",
                "plan",
                "limits",
                "users",
                "label",
                "expires",
                "env",
                "colour",
            },
        ),
        (
            "PUT",
            "/credentials/crm",
            {"type": "key", "expires": "soon"},
            {"type", "fields", "expires"},
        ),
        ("POST", "/credentials/crm/rotate", {"fields": {}}, {"fields"}),
        (
            "PUT",
            "/credentials/crm",
            {"type": "ak_sk", "fields": {"value": "x"}, "expires": "soon"},
            {"fields", "expires"},
        ),
        (
            "PUT",
            "/credentials/crm",
            {"type": "headers", "fields": {"Transfer-Encoding": "x"}},
            {"fields"},
        ),
        ("GET", "/keys?limit=0&colour=red", None, {"limit", "colour"}),
        (
            "GET",
            "/keys?state=actve&scope=no+scope&expiring_within=soon",
            None,
            {"state", "scope", "expiring_within"},
        ),
        (
            "POST",
            "/keys",
            {"consumer": "a", "scopes": ["agents/*"], "plan": "gone", "expires": "2001-01-01"},
            {"plan", "expires"},
        ),
        (
            "POST",
            "/keys",
            {"consumer": "", "scopes": ["x"], "plan": "gone", "expires": "2001-01-01", "a": 1},
            {"consumer", "scopes", "plan", "expires", "a"},
        ),
        (
            "POST",
            "/keys",
            {"consumer": "a", "scopes": ["x"], "limits": "burst=2"},
            {"scopes", "limits"},
        ),
        (
            "PUT",
            "/credentials/crm",
            {"type": "ak_sk", "fields": {}, "expires": "2001-01-01"},
            {"fields", "expires"},
        ),
        ("POST", "/policies/explain", {"url": "/agents/a", "key_id": "agk_live_a"}, {"key_id"}),
        ("POST", "/keys", {**SALES, "canary": "no"}, {"canary"}),
        ("POST", "/keys/bulk", {"act": "revoke"}, {"ids"}),
        ("GET", "/credentials/UPPER", None, {"name"}),
        ("POST", "/users/a!b/links", {"credentials": "github"}, {"user"}),
        ("POST", "/users/ann/links", {"credentials": "github:nothing"}, {"credentials"}),
        ("GET", "/usage?last=3&last=4", None, {"last"}),
        ("GET", "/keys?colour=", None, {"colour"}),
        ("GET", "/usage?by=consumer", None, {"name"}),
        ("GET", "/usage?name=sales", None, {"name"}),
        ("GET", "/usage/totals?by=consumer&name=sales", None, {"name"}),
    ],
)
async def test_every_bad_field_is_named(
    ask: Ask, admin: Key, method: str, path: str, body: Any, bad: set[str]
) -> None:
    answer = await ask(admin, method, path, body)
    assert answer.status == 422
    assert answer.headers["Content-Type"] == PROBLEM
    assert {error["field"] for error in answer.json["errors"]} == bad


async def test_a_key_that_is_used_here_alone_counts_as_used(ask: Ask, admin: Key) -> None:
    assert (await ask(admin, "GET", "/keys")).status == 200
    shown = await ask(admin, "GET", f"/keys/{admin.id}")
    assert shown.json["last_used_at"] is not None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/keys", {"consumer": "a", "scopes": []}),
        ("PATCH", "/keys/{id}", {}),
        ("POST", "/policies/explain", {"url": "/models/v1/responses"}),
        ("POST", "/policies/explain", {"url": "/agents/a", "model": "m"}),
        ("POST", "/policies/explain", {"url": "/agents/a", "tool": "t"}),
        ("POST", "/policies/explain", {"url": "/livez", "tool": "t"}),
        ("POST", "/policies/explain", {"url": "/agents/ü"}),
    ],
)
async def test_what_is_wrong_is_not_said_with_options_of_commands(
    ask: Ask, admin: Key, method: str, path: str, body: Any
) -> None:
    answer = await ask(admin, method, path.format(id=admin.id), body)
    assert answer.status == 422
    assert "--" not in answer.body.decode()


async def test_a_problem_without_a_type_has_the_title_of_its_status(
    world: World, ask: Ask, admin: Key
) -> None:
    reader = await world.issue("gateway/read")
    refused = [
        await ask(None, "GET", "/keys"),
        await ask(reader, "POST", "/keys", SALES),
        await ask(admin, "GET", "/nothing"),
        await ask(admin, "PUT", "/keys"),
        await ask(admin, "POST", "/keys", {}),
    ]
    assert [answer.status for answer in refused] == [401, 403, 404, 405, 422]
    for answer in refused:
        # RFC 9457 section 4.2.1.
        assert answer.json["type"] == "about:blank"
        assert answer.json["title"] == HTTPStatus(answer.status).phrase


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/keys", "GET, POST, HEAD"),
        ("OPTIONS", "/policies/reload", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_there_are(
    ask: Ask, admin: Key, method: str, path: str, allowed: str
) -> None:
    answer = await ask(admin, method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.json["code"] == "method_not_allowed"


@pytest.mark.parametrize("decision", [ALLOWED, DENIED, SHADOW])
async def test_the_audit_is_searched_for_every_decision(
    ask: Ask, admin: Key, decision: str
) -> None:
    assert (await ask(admin, "GET", f"/audit?decision={decision}")).status == 200


async def test_a_body_with_a_name_twice_is_refused(ask: Ask, admin: Key) -> None:
    twice = b'{"consumer": "sales", "consumer": "hr", "scopes": ["agents/*"]}'
    answer = await ask(admin, "POST", "/keys", twice)
    assert answer.status == 400
    assert "without repeated names" in answer.json["detail"]
    assert (await ask(admin, "POST", "/keys", b"[]")).status == 400


async def test_containing_a_key_closes_it_and_tells_what_it_reached(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    for _ in range(3):
        await world.call(key)
    async with asyncio.timeout(15):
        while not (await ask(admin, "GET", f"/keys/{key.id}/reach")).json["reached"]:
            await asyncio.sleep(0.1)
    told = (await ask(admin, "POST", f"/keys/{key.id}/contain")).json
    assert told["outcome"] == "revoked"
    assert told["reached"]["echo"]["requests"] == 3
    assert (await world.call(key)).code == "key_revoked"


async def test_what_a_user_is_asked_for_is_a_list_or_a_text(ask: Ask, admin: Key) -> None:
    for wanted in (["github", "aliyun:ak_sk"], "github,aliyun:ak_sk"):
        made = await ask(admin, "POST", "/users/ann/links", {"credentials": wanted})
        assert made.json["credentials"] == ["github", "aliyun"]
    for wrong in ([], ["a b!"], [5], 5):
        refused = await ask(admin, "POST", "/users/ann/links", {"credentials": wrong})
        assert {error["field"] for error in refused.json["errors"]} == {"credentials"}


async def test_credentials_go_in_and_do_not_come_out(world: World, ask: Ask, admin: Key) -> None:
    value = "a-value-that-nobody-sees-again"
    body = {"type": "api_key", "fields": {"value": value}, "expires": "30d"}
    made = await ask(admin, "PUT", "/credentials/crm_key", body)
    assert (made.json["version"], made.json["state"]) == (1, "ok")
    rotated = await ask(
        admin, "POST", "/credentials/crm_key/rotate", {"fields": {"value": f"{value}-2"}}
    )
    assert rotated.json["version"] == 2
    listed = await ask(admin, "GET", "/credentials")
    shown = await ask(admin, "GET", "/credentials/crm_key")
    for answer in (made, rotated, listed, shown):
        assert value not in answer.body.decode()
    assert (await ask(admin, "DELETE", "/credentials/crm_key")).json == {"removed": ["crm_key"]}
    assert (await ask(admin, "GET", "/credentials/crm_key")).status == 404
    bad = await ask(admin, "PUT", "/credentials/crm_key", {**body, "fields": {"x": value}})
    assert bad.status == 422
    assert value not in bad.body.decode()


async def test_credentials_and_users_are_searched_and_listed_page_by_page(
    world: World, ask: Ask, admin: Key
) -> None:
    vault = Vault(world.client)
    shared = ["crm", "zoo"]
    own = ["user/ann/crm", "user/bob/crm", "user/bob/git"]
    for name in (*own, *shared):
        await keep(world, vault, name, "api_key", value="a-value-of-a-user")

    async def pages(path: str, rows: str, name: str, **query: object) -> list[list[str]]:
        found: list[list[str]] = []
        after: str | None = ""
        while after is not None:
            asked = urlencode({**query, "after": after})
            page = (await ask(admin, "GET", f"{path}?{asked}")).json
            found.append([one[name] for one in page[rows]])
            after = page["next"]
        return found

    credentials = partial(pages, "/credentials", "credentials", "name")
    users = partial(pages, "/users", "users", "user")
    assert await credentials() == [[*shared, *own]]
    assert await credentials(limit=2) == [shared, own[:2], own[2:]]
    assert await credentials(limit=5) == [[*shared, *own]]
    assert await credentials(search="crm", limit=2) == [["crm", own[0]], [own[1]]]
    assert await credentials(search="CRM") == [[]]
    assert await users(limit=1) == [["ann"], ["bob"]]
    assert await users(search="bo", limit=1) == [["bob"]]
    # One that is gone by now still marks a place.
    assert (await ask(admin, "GET", "/users?after=b")).json["users"][0]["user"] == "bob"
    after = await ask(admin, "GET", "/credentials?after=user/b/xx")
    assert [one["name"] for one in after.json["credentials"]] == own[1:]
    for bad in ("after=user/", "limit=0", "limit=501", "name=crm"):
        assert (await ask(admin, "GET", f"/credentials?{bad}")).status == 422


async def test_a_link_made_here_is_one_that_works(world: World, ask: Ask, admin: Key) -> None:
    made = await ask(admin, "POST", "/users/ann/links", {"credentials": "github"})
    assert made.json["url"] == world.url + made.json["path"]
    assert (await world.call(None, made.json["path"])).status == 200
    (row,) = (await ask(admin, "GET", "/users")).json["users"]
    assert (row["user"], row["link_seconds"] > 0) == ("ann", True)
    # Of several, the one that ends last, whichever is found first.
    await ask(admin, "POST", "/users/ann/links", {"credentials": "github"})
    links = [name async for name in world.client.scan_iter(f"{world.store.prefix}link:*")]
    assert len(links) == 2
    for seconds in ((60, 600), (600, 60)):
        for name, left in zip(links, seconds, strict=True):
            await world.client.expire(name, left)
        (row,) = (await ask(admin, "GET", "/users")).json["users"]
        assert row["link_seconds"] > 500


async def test_the_links_of_a_user_are_ended_and_nobody_elses(
    world: World, ask: Ask, admin: Key
) -> None:
    await keep(world, Vault(world.client), "user/ann/crm", "api_key", value="a-value-of-a-user")
    paths = []
    for user in ("ann", "ann", "bob"):
        made = await ask(admin, "POST", f"/users/{user}/links", {"credentials": "github"})
        paths.append(made.json["path"])
    ended = await ask(admin, "DELETE", "/users/ann/links")
    assert (ended.status, ended.json) == (200, {"user": "ann", "links_ended": 2})
    assert [(await world.call(None, path)).status for path in paths] == [404, 404, 200]
    rows = (await ask(admin, "GET", "/users")).json["users"]
    assert [(one["user"], one["credentials"]) for one in rows] == [("ann", ["crm"]), ("bob", [])]
    assert (await ask(admin, "DELETE", "/users/ann/links")).json["links_ended"] == 0
    (one, *_) = (await ask(admin, "GET", f"/audit?actor=key:{admin.id}")).json["records"]
    assert (one["event"], one["user"]) == ("user.unlink", "ann")


async def test_every_act_is_on_record_in_the_name_of_its_key(
    world: World, ask: Ask, admin: Key
) -> None:
    made = (await ask(admin, "POST", "/keys", SALES)).json
    await ask(admin, "POST", f"/keys/{made['id']}/disable")
    body = {"type": "api_key", "fields": {"value": "v"}}
    await ask(admin, "PUT", "/credentials/crm_key", body)
    records = (await ask(admin, "GET", "/audit?limit=10")).json["records"]
    acts = [(one["event"], one["actor"]) for one in reversed(records)]
    actor = f"key:{admin.id}"
    assert acts == [("key.create", actor), ("key.disable", actor), ("credential.set", actor)]


async def test_without_its_record_nothing_is_done_but_a_revocation(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    await world.client.set(f"{world.store.prefix}audit", "no stream")
    refused = await ask(admin, "POST", f"/keys/{key.id}/disable")
    assert refused.status == 503
    assert "audit record" in refused.json["detail"]
    assert (refused.headers["Retry-After"], refused.headers.get("x-should-retry")) == ("1", None)
    assert (await world.call(key)).status == 200
    assert (await ask(admin, "POST", f"/keys/{key.id}/revoke")).json["outcome"] == "revoked"
    assert (await world.call(key)).code == "key_revoked"
    await world.client.delete(f"{world.store.prefix}audit")


async def test_audit_records_are_found_by_what_they_say_and_page_by_page(
    world: World, ask: Ask, admin: Key
) -> None:
    other = await world.issue("agents/other")
    for _ in range(5):
        await world.call(other)
    async with asyncio.timeout(15):
        while await AuditStore(world.client, world.store.prefix).length() < 5:
            await asyncio.sleep(0.05)
    first = (await ask(admin, "GET", "/audit?event=request.denied&limit=3")).json
    rest = (await ask(admin, "GET", f"/audit?event=request.denied&before={first['next']}")).json
    assert (len(first["records"]), len(rest["records"]), rest["next"]) == (3, 2, None)
    seqs = [one["seq"] for one in (*first["records"], *rest["records"])]
    assert seqs == sorted(seqs, reverse=True)
    assert (await ask(admin, "GET", "/audit?key=nobody")).json["records"] == []


async def test_usage_is_told_by_time_and_by_name(world: World, ask: Ask, admin: Key) -> None:
    key = await world.issue("agents/*", consumer="sales")
    for _ in range(4):
        await world.call(key)

    async def told() -> int:
        names = (await ask(admin, "GET", "/usage/totals?by=consumer&last=2")).json["names"]
        return int(names.get("sales", {}).get("requests", 0))

    async with asyncio.timeout(15):
        while await told() < 4:
            await asyncio.sleep(0.1)
    points = (await ask(admin, "GET", "/usage?by=agent&name=echo&step=minute&last=3")).json
    assert sum(point["counts"]["requests"] for point in points["points"]) == 4
    for step in ("minute", "hour", "day"):
        own = (await ask(admin, "GET", f"/keys/{key.id}/usage?step={step}&last=3")).json
        assert sum(point["counts"]["requests"] for point in own["points"]) == 4
    await world.client.delete(world.record(key))
    for key_id, status in ((key.id, 200), ("000000000000", 404)):
        assert (await ask(admin, "GET", f"/keys/{key_id}/usage?last=3")).status == status


async def test_a_key_is_shown_with_when_redis_removes_it(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    assert (await ask(admin, "GET", f"/keys/{key.id}")).json["removed_at"] is None
    await world.client.expireat(world.record(key), 4_000_000_000)
    assert (await ask(admin, "GET", f"/keys/{key.id}")).json["removed_at"] == 4_000_000_000


async def test_a_key_is_shown_with_when_each_of_its_secrets_was_last_used(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")

    async def used() -> tuple[int | None, int | None]:
        shown = (await ask(admin, "GET", f"/keys/{key.id}")).json
        return shown["last_used_at"], shown["previous_last_used_at"]

    assert await used() == (None, None)
    await world.call(key)
    before, nothing = await used()
    assert before is not None and nothing is None
    rotated = (await ask(admin, "POST", f"/keys/{key.id}/rotate", {"grace": "1h"})).json
    assert await used() == (None, before)
    new = parse(rotated["key"])
    assert new is not None
    await world.call(new)
    after, unchanged = await used()
    assert (after or 0) >= before and unchanged == before


async def test_latency_is_told_by_time_and_counts_what_was_let_in(
    world: World, ask: Ask, admin: Key
) -> None:
    key = await world.issue("agents/*")
    await world.call(key)

    async def whole() -> dict[str, Any]:
        told = (await ask(admin, "GET", "/usage/latency?step=minute&last=3")).json
        assert len(told["points"]) == 3
        return dict(told["whole"])

    async with asyncio.timeout(15):
        while (await whole())["first_byte"] is None:
            await asyncio.sleep(0.1)
    found = await whole()
    assert 0 < found["admission"]["p50"] <= found["admission"]["p99"]
    assert found["admission"]["p50"] <= found["first_byte"]["p50"] <= found["first_byte"]["p99"]


async def test_policies_are_shown_checked_and_explained(world: World, ask: Ask, admin: Key) -> None:
    assert (await ask(admin, "GET", "/policies")).json["agents"] == ["echo"]
    bad = await ask(admin, "POST", "/policies/check", {"text": "version: 1\nagents: {a: 5}\n"})
    assert bad.json["problems"][0]["place"].startswith("text.yaml:2:")
    key = await world.issue("agents/other")
    asked = {"key_id": key.id, "url": "/agents/echo/x"}
    told = (await ask(admin, "POST", "/policies/explain", asked)).json
    assert (told["code"], told["status"]) == ("scope_denied", 403)
    assert told["steps"][-1] == {
        "looked_at": "scope",
        "found": "agents/echo:invoke is not granted",
        "template": "{scope} is not granted",
        "facts": {"scope": "agents/echo:invoke"},
    }


async def test_an_explanation_tells_whether_the_credentials_are_there(
    world: World, ask: Ask, admin: Key
) -> None:
    inject = "inject: {credential: '${credentials.later}'}"
    put(world, f"version: 1\nservices:\n  crm: {{upstream: 'http://127.0.0.1:9', {inject}}}\n")
    asked = {"key_id": (await world.issue("services/*")).id, "url": "/services/crm/x"}
    told = (await ask(admin, "POST", "/policies/explain", asked)).json
    assert (told["code"], told["status"]) == ("credential_unavailable", 503)
    await Vault(world.client).write("later")
    await world.gateways[0].base.credentials.check()
    told = (await ask(admin, "POST", "/policies/explain", asked)).json
    assert (told["code"], told["upstream"]) == ("", "http://127.0.0.1:9/x")


async def test_who_would_lose_by_files_that_were_not_taken_yet_is_told(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    text = "version: 1\nagents: {a: {upstream: 'http://127.0.0.1:1'}, b: {upstream: 'http://x'}}\n"
    live = live_files(tmp_path, text)
    async with new_world(store, client, live=live) as world:
        reader = await world.issue("gateway/read", consumer="ops")
        await world.issue("agents/*", consumer="sales")

        async def diff() -> Any:
            path = f"http://{world.gateways[0].admin.address}/admin/v1/policies/diff"
            headers = {"Authorization": f"Bearer {reader.text}"}
            async with world.session.post(path, headers=headers) as answer:
                return await answer.json()

        assert (await diff())["diff"]["loses"] is False
        file.write_text(text.replace(", b: {upstream: 'http://x'}", ""))
        told = (await diff())["diff"]
        assert told["structure"]["removed"] == ["agents/b"]
        (group,) = told["keys"]["groups"]
        assert (group["consumer"], group["change"]["lost"]) == ("sales", ["agents/b:invoke"])
        assert set(live.current.agents) == {"a", "b"}
        file.write_text("version: 1\nagents: {a: 5}\n")
        refused = await diff()
        assert refused["diff"] is None
        assert refused["problems"][0]["place"].endswith("a.yaml:2:13")


async def test_a_reload_of_files_that_cannot_be_used_is_no_success_and_says_where(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    live = live_files(tmp_path, "version: 1\nplans: {p: {rate: 1/s}}\n")
    async with new_world(store, client, live=live) as world:
        admin = await world.issue("gateway/admin", consumer="ops")
        url = f"http://{world.gateways[0].admin.address}/admin/v1/policies"
        headers = {"Authorization": f"Bearer {admin.text}"}

        async def ask(method: str, path: str = "") -> Answer:
            async with world.session.request(method, url + path, headers=headers) as answer:
                return Answer(answer.status, answer.headers, await answer.read())

        (tmp_path / "a.yaml").write_text("version: 1\nplans: {p: {rate: 2/s}}\n")
        taken = await ask("POST", "/reload")
        assert (taken.status, taken.json["taken"]) == (200, True)
        in_force = taken.json["revision"]
        # A name as another system may have written it.
        (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("version: 1\nplans: {q: {rate: 1}}\n")
        refused = await ask("POST", "/reload")
        assert (refused.status, refused.headers["Content-Type"]) == (409, PROBLEM)
        assert (refused.json["taken"], refused.json["revision"]) == (False, in_force)
        (problem,) = refused.json["problems"]
        assert problem["place"].endswith(r"\udcff.yaml:2:19")
        assert (await ask("GET")).json["problems"] == [problem]
        assert (await ask("POST", "/diff")).json["problems"] == [problem]


async def test_it_says_how_it_does(ask: Ask, admin: Key) -> None:
    told = (await ask(admin, "GET", "/health")).json
    assert (told["ready"], told["missing"]) == (True, [])
    assert (await ask(admin, "GET", "/workers")).json == {"workers": []}


async def test_it_says_that_the_audit_cannot_be_written_until_it_can(
    world: World, ask: Ask, admin: Key
) -> None:
    body = {"type": "api_key", "fields": {"value": "a-value-of-a-crm"}}
    stream = f"{world.store.prefix}audit"
    await world.client.set(stream, "of somebody else")
    assert (await ask(admin, "PUT", "/credentials/crm", body)).json["code"] == "audit_unavailable"
    assert (await ask(admin, "GET", "/health")).json["audit_error"]
    await world.client.delete(stream)
    assert (await ask(admin, "PUT", "/credentials/crm", body)).status == 200
    assert (await ask(admin, "GET", "/health")).json["audit_error"] == ""


async def test_limits_that_limit_nothing_make_no_key(ask: Ask, admin: Key) -> None:
    for limits in ("burst=5", f"{admin.text}=5"):
        refused = await ask(admin, "POST", "/keys", {**SALES, "limits": limits})
        assert refused.status == 422
        assert admin.text not in refused.body.decode()


async def test_a_refusal_says_which_scope_is_missing_and_that_it_is_of_no_use_to_try_again(
    world: World, ask: Ask, admin: Key
) -> None:
    reader = await world.issue("gateway/read", consumer="ops")
    refused = await ask(reader, "POST", "/keys", SALES)
    assert (refused.status, refused.json["required_scope"]) == (403, "gateway/keys")
    for answer in (refused, await ask(admin, "GET", "/keys/4xT9mQ2LrB7c")):
        assert answer.headers["x-should-retry"] == "false"
        named = {answer.headers["X-Request-Id"], answer.headers["request-id"]}
        assert named == {answer.json["request_id"]}


async def test_a_page_of_another_name_that_stands_for_this_machine_is_refused(
    ask: Ask, admin: Key
) -> None:
    """DNS rebinding: the browser believes to talk with its own site."""
    answer = await ask(admin, "GET", "/keys", headers={"Host": "evil.example"})
    assert answer.status == 400
    assert "Use 127.0.0.1 or localhost" in answer.json["detail"]


async def test_the_description_names_every_route_and_is_of_one_piece(ask: Ask) -> None:
    told = json.loads((await ask(None, "GET", "/openapi.json")).body)
    described = {(method.upper(), path) for path, item in told["paths"].items() for method in item}
    assert described == {(route.method, f"/admin/v1{route.path}") for route in ROUTES}
    text = json.dumps(told)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in told["components"]["schemas"]


async def test_a_key_that_makes_keys_makes_and_takes_over_none_with_powers(
    world: World, ask: Ask, admin: Key
) -> None:
    """Else it would be as good as `gateway/admin`: also of itself."""
    maker = await world.issue("gateway/keys", consumer="hr")
    powers = {"scopes": ["agents/*", "gateway/audit"]}
    plain = (await ask(maker, "POST", "/keys", SALES)).json["id"]
    for method, path, body in (
        ("POST", "/keys", {**SALES, **powers}),
        ("PATCH", f"/keys/{plain}", powers),
        ("PATCH", f"/keys/{maker.id}", powers),
        ("PATCH", f"/keys/{admin.id}", {"label": "x"}),
        ("POST", f"/keys/{admin.id}/rotate", {}),
        ("POST", f"/keys/{admin.id}/enable", None),
        ("DELETE", f"/keys/{admin.id}", None),
    ):
        answer = await ask(maker, method, path, body)
        assert (answer.status, answer.json["code"]) == (403, "scope_denied"), (method, path)
        assert answer.json["required_scope"] == "gateway/admin", (method, path)
    assert (await ask(admin, "GET", "/keys")).status == 200
    # What is dangerous may be stopped by whoever sees it.
    assert (await ask(maker, "POST", f"/keys/{admin.id}/revoke")).status == 200


async def test_links_and_reloads_are_on_record_too(world: World, ask: Ask, admin: Key) -> None:
    await ask(admin, "POST", "/users/ann/links", {"credentials": "github,crm"})
    (one,) = (await ask(admin, "GET", f"/audit?actor=key:{admin.id}")).json["records"]
    assert (one["event"], one["user"]) == ("user.link", "ann")
    named = [used["name"] for used in one["credentials"]]
    assert named == ["user/ann/github", "user/ann/crm"]


@pytest.mark.parametrize("act", ["revoke", "disable", "enable", "rotate", "contain", "reach"])
async def test_what_is_not_there_is_not_found(ask: Ask, admin: Key, act: str) -> None:
    method = "GET" if act == "reach" else "POST"
    answer = await ask(admin, method, f"/keys/aaaaaaaaaaaa/{act}", None if act == "reach" else {})
    assert (answer.status, answer.json["code"]) == (404, "not_found")
