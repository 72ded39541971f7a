"""Users bring credentials of their own through a one-time link, and nobody sees a value again."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import AccessLogSettings, StoreSettings, VaultSettings
from gateway.store.audit import AuditStore
from tests.flows.audit import come
from tests.flows.links import SERVICE, called, new_link
from tests.flows.raw import exchange
from tests.flows.services import backend, put
from tests.flows.world import MASTER, Answer, World, new_world

VALUE = "a-secret-of-ann-0123456789"
KEY_PAIR = "field.access_key_id=12345678&field.access_key_secret=12345678"
CLIENT = "field.token_url=https://idp.example.com&field.client_id=a&field.client_secret=b"
NEVER = {"calls": 0}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def get(world: World, path: str, **headers: str) -> Answer:
    return await world.call(None, path, headers=headers)


async def post(world: World, path: str, body: str, **headers: str) -> Answer:
    sent: Mapping[str, str] = {**FORM, **headers}
    return await world.call(None, path, method="POST", headers=sent, data=body.encode())


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


async def test_what_a_user_enters_is_put_into_the_users_calls_until_it_is_removed(
    world: World,
) -> None:
    async with backend() as crm:
        put(world, SERVICE.format(url=crm.url))
        key = await world.issue("services/crm", users=("ann",))
        assert (await called(world, key)).code == "credential_unavailable"
        path = await new_link(world)
        saved = await post(world, path, f"name=crm&field.value={VALUE}&action=save")
        assert saved.status == 200
        assert (await called(world, key)).status == 200
        assert crm.last.headers["x-token"] == [VALUE]
        removed = await post(world, path, "name=crm&action=remove", Cookie=cookie_of(saved))
        assert removed.status == 200
        assert (await called(world, key)).code == "credential_unavailable"


async def test_what_is_entered_and_removed_at_one_gateway_is_so_at_the_others_long_before_they_poll(
    store: StoreSettings, client: Redis
) -> None:
    vault = VaultSettings(None, (MASTER,), poll=3600.0)
    async with new_world(store, client, gateways=2, vault=vault) as world, backend() as crm:
        put(world, SERVICE.format(url=crm.url))
        key, path = await world.issue("services/crm", users=("ann",)), await new_link(world)
        saved = await post(world, path, f"name=crm&field.value={VALUE}&action=save")
        assert (await called(world, key, gateway=1)).status == 200
        await post(world, path, "name=crm&action=remove", Cookie=cookie_of(saved))
        async with asyncio.timeout(20):
            while (await called(world, key, gateway=1)).status == 200:
                await asyncio.sleep(0.02)
        assert (await called(world, key, gateway=1)).code == "credential_unavailable"


async def test_a_look_does_not_use_a_link_and_a_form_that_is_sent_does(world: World) -> None:
    """What previews links before their reader does must not use them up."""
    path = await new_link(world)
    for _ in range(3):
        page = await get(world, path)
        assert page.status == 200
        assert b'name="field.value"' in page.body
    saved = await post(world, path, f"name=crm&field.value={VALUE}")
    assert (await get(world, path)).status == 404
    assert (await post(world, path, f"name=crm&field.value={VALUE}")).status == 404
    again = await get(world, path, Cookie=cookie_of(saved))
    assert again.status == 200
    assert (await get(world, path, Cookie="gateway_connect=" + "x" * 32)).status == 404


async def test_of_two_who_have_found_a_link_unused_one_uses_it(world: World) -> None:
    path, both_opened = await new_link(world), asyncio.Event()

    async def form() -> AsyncIterator[bytes]:
        yield b"name=crm&"
        await both_opened.wait()
        yield f"field.value={VALUE}".encode()

    async def sent() -> int:
        answer = await world.call(None, path, method="POST", headers=FORM, data=form())
        return answer.status

    await world.client.config_resetstat()
    statuses = asyncio.gather(sent(), sent())
    async with asyncio.timeout(10):
        while (await world.client.info("commandstats")).get("cmdstat_hmget", NEVER)["calls"] < 2:
            await asyncio.sleep(0.01)
    both_opened.set()
    assert sorted(await statuses) == [200, 404]


async def test_a_link_that_the_store_cannot_tell_is_neither_open_nor_none(world: World) -> None:
    path = await new_link(world)
    (name,) = [one async for one in world.client.scan_iter(f"{world.store.prefix}link:*")]
    await world.client.delete(name)
    await world.client.set(name, "no hash")
    answer = await get(world, path)
    assert (answer.status, answer.code) == (503, "store_unavailable")


async def test_the_page_is_read_or_sent_and_nothing_else(world: World) -> None:
    path = await new_link(world)
    refused = await world.call(None, path, method="DELETE")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, POST")
    style = await get(world, "/connect/style.css")
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")


async def test_no_browser_brings_the_session_of_a_link_along(world: World) -> None:
    """Whoever can set cookies for this host, as an agent of its can, would know it."""
    path, planted = await new_link(world), f"gateway_connect={'A' * 32}"
    saved = await post(world, path, f"name=crm&field.value={VALUE}", Cookie=planted)
    assert saved.status == 200 and cookie_of(saved) != planted
    assert (await get(world, path, Cookie=planted)).status == 404
    again = await post(world, path, "name=crm&action=remove", Cookie=cookie_of(saved))
    assert again.status == 200 and cookie_of(again) == cookie_of(saved)


async def test_a_session_that_was_written_by_hand_is_nobodys(world: World) -> None:
    path = await new_link(world)
    (name,) = [n async for n in world.client.scan_iter(f"{world.store.prefix}link:*")]
    await world.client.hset(name, "session", "é")
    assert (await get(world, path)).status == 404
    assert (await get(world, path, Cookie=f"gateway_connect={'A' * 32}")).status == 404


async def test_a_cookie_of_backslashes_costs_a_stranger_more_than_the_gateway(world: World) -> None:
    """It took readers of quoted cookies the square of its length: 0.2 s of everybody's each."""
    cookie = 'a="' + "\\a" * 4000 + '"'
    began = time.process_time()
    for _ in range(20):
        assert (await world.call(None, "/connect/none", headers={"Cookie": cookie})).status == 404
    assert time.process_time() - began < 0.7


async def test_an_unknown_a_used_and_an_ended_link_are_one_page(world: World) -> None:
    used, ended = await new_link(world), await new_link(world)
    await post(world, used, f"name=crm&field.value={VALUE}")
    names = [n async for n in world.client.scan_iter(f"{world.store.prefix}link:*")]
    assert len(names) == 2
    for name in names:
        assert 0 < await world.client.ttl(name) <= 900
        if not await world.client.hget(name, "session"):
            await world.client.delete(name)
    paths = (used, ended, "/connect/" + "x" * 32, "/connect/short", "/connect/")
    answers = [await get(world, path) for path in paths]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1


async def test_links_that_are_none_are_counted_as_refusals_without_a_key_are(
    short_folds: None, world: World
) -> None:
    used = await new_link(world)
    await post(world, used, f"name=crm&field.value={VALUE}")
    for path in (used, "/connect/" + "x" * 32, "/connect/short"):
        assert (await get(world, path)).status == 404
    (one,) = await come(world, "request.denied", 1)
    assert (one["code"], one["status"], one["count"]) == ("not_found", 404, 3)
    assert one["key_id"] == ""


async def test_no_value_and_no_token_is_anywhere_but_where_it_belongs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await new_link(world)
    saved = await post(world, path, f"name=crm&field.value={VALUE}")
    page = await get(world, path, Cookie=cookie_of(saved))
    token = path.removeprefix("/connect/")
    session = cookie_of(saved).partition("=")[2]
    records = "".join([r async for _, r in AuditStore(world.client, world.store.prefix).read()])
    kept = [str(await world.client.dump(n)) async for n in world.client.scan_iter("*")]
    names = [n async for n in world.client.scan_iter("*")]
    said = "".join(capsys.readouterr())
    for place in (page.body.decode(), records, *kept, *names, said):
        assert VALUE not in place
        assert session not in place
    for place in (records, *kept, *names, said):
        assert token not in place
    acts = [json.loads(line) for line in records.replace("}{", "}\n{").splitlines()]
    act = next(one for one in acts if one["event"] == "credential.set")
    assert (act["actor"], act["user"]) == ("user:ann", "ann")
    assert act["credentials"] == [{"name": "user/ann/crm", "version": 1}]


async def test_the_page_is_for_nobody_else(world: World) -> None:
    path = await new_link(world)
    page = await get(world, path)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(rb"<script|style=|https?://", page.body)
    saved = await post(world, path, f"name=crm&field.value={VALUE}")
    for mark in ("HttpOnly", "SameSite=Strict", f"Path={path}", "Max-Age=900"):
        assert mark in saved.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("name=other&field.value=x", {}),
        ("name=crm&field.value=x&action=grant", {}),
        ("&".join(f"a{i}=1" for i in range(40)), {}),
        ("name=crm&field.value=x", {"Origin": "https://evil.example"}),
        ("name=crm&field.value=x", {"Content-Type": "text/plain"}),
        ("%ff=%zz", {}),
    ],
)
async def test_what_the_page_does_not_send_is_refused_and_uses_nothing(
    world: World, body: str, headers: dict[str, str]
) -> None:
    path = await new_link(world)
    assert (await post(world, path, body, **headers)).status == 400
    assert (await get(world, path)).status == 200


async def test_several_fields_are_asked_for_by_type_and_what_may_is_left_empty(
    world: World,
) -> None:
    path = await new_link(world, "aliyun:ak_sk,github")
    page = (await get(world, path)).body.decode()
    for name in ("access_key_id", "access_key_secret", "security_token", "account_id", "value"):
        assert f'name="field.{name}"' in page
    missing = await post(world, path, "name=aliyun&field.access_key_id=AKID-of-ann")
    assert missing.status == 422
    body = "name=aliyun&field.access_key_id=AKID-of-ann&field.access_key_secret=s3cret-of-ann"
    saved = await post(world, path, body)
    assert saved.status == 200
    assert saved.body.decode().count("is-set") == 1


@pytest.mark.parametrize(
    ("wanted", "fields", "status"),
    [
        ("api_key", "field.value=1234567", 422),
        ("api_key", "field.value=12345678", 200),
        ("custom", "field.value=1234567", 422),
        ("basic", "field.username=ann&field.password=1234567", 422),
        ("basic", "field.username=ann&field.password=12345678", 200),
        ("ak_sk", "field.access_key_id=AK&field.access_key_secret=12345678", 422),
        ("ak_sk", f"{KEY_PAIR}&field.account_id=1", 200),
        ("oauth2", f"{CLIENT}&field.scopes=c", 200),
    ],
)
async def test_what_tools_could_not_be_called_with_is_not_taken(
    world: World, wanted: str, fields: str, status: int
) -> None:
    answer = await post(world, await new_link(world, f"crm:{wanted}"), f"name=crm&{fields}")
    assert answer.status == status
    assert (b"fewer than 8 characters" in answer.body) == (status == 422)
    assert (b"crm is connected." in answer.body) == (status == 200)


async def test_a_value_that_is_refused_leaves_the_link_to_whoever_has_a_good_one(
    world: World,
) -> None:
    path = await new_link(world)
    refused = await post(world, path, "name=crm&field.value=test")
    assert refused.status == 422 and "Set-Cookie" not in refused.headers
    assert (await get(world, path)).status == 200
    saved = await post(world, path, f"name=crm&field.value={VALUE}")
    assert saved.status == 200
    refused = await post(world, path, "name=crm&field.value=test", Cookie=cookie_of(saved))
    assert refused.status == 422
    assert (await get(world, path)).status == 404


async def test_what_is_removed_twice_is_not_there_any_more(world: World) -> None:
    path = await new_link(world)
    saved = await post(world, path, f"name=crm&field.value={VALUE}")
    for said in (b"crm was removed. Calls may use it", b"crm is not there any more."):
        page = await post(world, path, "name=crm&action=remove", Cookie=cookie_of(saved))
        assert said in page.body
        assert b"is-set" not in page.body


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.5", "zh-Hans"),
        ("en-US,en", "en"),
        ("fr, zh;q=0.1", "zh-Hans"),
        ("zh;q=0, en;q=0.2", "en"),
        ("zh ; q=0.8, en;q=0.2", "zh-Hans"),
        ("", "en"),
        ("*;q=nonsense", "en"),
    ],
)
async def test_it_speaks_english_and_chinese(world: World, accepted: str, lang: str) -> None:
    path = await new_link(world)
    page = await get(world, path, **({"Accept-Language": accepted} if accepted else {}))
    assert f'<html lang="{lang}">'.encode() in page.body


@pytest.mark.parametrize("target", ["{path}", "http://gateway{path}", "{path}?a=%zz"])
async def test_the_log_holds_no_token_also_of_what_cannot_be_read(
    store: StoreSettings, client: Redis, tmp_path: Path, target: str
) -> None:
    log = tmp_path / "access.log"
    settings = AccessLogSettings(log, as_json=True)
    async with new_world(store, client, access_log=settings) as world:
        path = await new_link(world)
        line = f"GET {target.format(path=path)} HTTP/1.1\r\nHost: a b\r\n\r\n"
        assert (await exchange(world.address, line.encode())).status == 400
        await get(world, path)
    written = log.read_text()
    assert written.count("\n") == 2
    assert path.removeprefix("/connect/") not in written
