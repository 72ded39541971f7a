"""Who is signed in to the console, and what a browser may be made to do."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html import escape, unescape
from importlib.resources import files
from ipaddress import ip_network
from pathlib import Path
from string import Formatter
from urllib.parse import quote, urlencode

import pytest
from redis.asyncio import Redis

from gateway.admin.console.console import ENDED, POWERLESS, UNDONE, UNKNOWN_KEY
from gateway.admin.console.explain_words import EXPLAINED
from gateway.admin.console.key_pages import CHANGED_MEANWHILE
from gateway.admin.console.places import MENU
from gateway.admin.console.refusal import TITLES, Refusal
from gateway.admin.console.refusal_words import REFUSED, in_chinese
from gateway.admin.console.render import STATIC
from gateway.admin.console.words import CHINESE
from gateway.crypto.audit_key import audit_keys
from gateway.crypto.envelope import MasterKeys
from gateway.domain.audit.filters import FILTERS
from gateway.domain.audit.record import AuditEvent
from gateway.domain.keys.expiry import LATEST_EXPIRY
from gateway.domain.keys.key import Key, checksum, parse
from gateway.domain.keys.limits import Limits
from gateway.domain.keys.views import State
from gateway.domain.policies.plans import Plan
from gateway.domain.settings import StoreSettings
from gateway.domain.units import DAY
from gateway.services.admission.steps import About, Found
from gateway.services.admission.throttle import PER_ADDRESS, PER_KEY
from gateway.services.audit.writer import Audit
from gateway.services.credentials import uses
from gateway.services.credentials.views import State as CredentialState
from gateway.services.keys.bulk import Act
from gateway.store.audit import AuditStore
from tests.admin.conftest import Ask, live_files
from tests.flows.audit import records
from tests.flows.links import new_link
from tests.flows.services import keep
from tests.flows.world import Answer, World, new_world
from tests.flows.wrong_keys import wrong
from tests.services.vaults import Vault

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def get(world: World, path: str = "", cookie: str = "") -> Answer:
    return await send(world, "GET", path, {"Cookie": cookie} if cookie else {})


async def post(world: World, path: str, body: str, cookie: str = "", **headers: str) -> Answer:
    more = {"Cookie": cookie} if cookie else {}
    return await send(world, "POST", path, {**FORM, **more, **headers}, body)


async def send(
    world: World, method: str, path: str, headers: Mapping[str, str], body: str | None = None
) -> Answer:
    url = f"http://{world.gateways[0].admin.address}/console/{path}"
    async with world.session.request(
        method, url, headers=dict(headers), data=body, allow_redirects=False
    ) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


async def sign_in(world: World, key: Key, cookie: str = "") -> str:
    answer = await post(world, "login", f"key={key.text}", cookie)
    assert (answer.status, answer.headers["Location"]) == (303, "/console/")
    return answer.headers["Set-Cookie"].partition(";")[0]


def csrf_of(page: Answer) -> str:
    found = re.search(rb'name="csrf" value="([0-9a-f]{64})"', page.body)
    assert found is not None
    return found[1].decode()


async def test_a_session_is_its_browsers_alone_and_short(world: World, admin: Key) -> None:
    answer = await post(world, "login", f"key={admin.text}")
    cookie = answer.headers["Set-Cookie"]
    for mark in ("HttpOnly", "SameSite=Strict", "Path=/console/", "Max-Age=3600"):
        assert mark in cookie
    assert admin.text not in cookie
    token = cookie.partition(";")[0].partition("=")[2]
    names = [name async for name in world.client.scan_iter("*session*")]
    assert len(names) == 1
    assert 0 < await world.client.ttl(names[0]) <= 3600
    assert token not in names[0] + str(await world.client.get(names[0]))


async def test_signing_in_gives_another_session_and_ends_the_one_before(
    world: World, admin: Key
) -> None:
    first = await sign_in(world, admin)
    second = await sign_in(world, admin, first)
    assert first != second
    assert (await get(world, "", first)).status == 401
    assert (await get(world, "", second)).status == 200
    fixed = await sign_in(world, admin, "gateway_console=" + "x" * 32)
    assert "x" * 32 not in fixed


async def test_a_session_ends_with_its_key_and_with_signing_out(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    page = await get(world, "", cookie)
    assert page.status == 200
    await world.client.hset(world.record(admin), "status", "revoked")
    assert (await get(world, "", cookie)).status == 401
    acted = await post(world, "keys", f"csrf={csrf_of(page)}&consumer=a&scopes=agents/*", cookie)
    assert acted.status == 401
    assert b"Nothing was done" in acted.body
    await world.client.hset(world.record(admin), "status", "active")
    assert (await get(world, "", cookie)).status == 200
    left = await post(world, "logout", f"csrf={csrf_of(page)}", cookie)
    assert "Max-Age=0" in left.headers["Set-Cookie"]
    assert (await get(world, "", cookie)).status == 401


async def test_a_session_ends_with_the_secret_that_it_was_opened_with(
    world: World, ask: Ask, admin: Key
) -> None:
    """Whoever stole a secret and signed in is out once it is rotated."""
    other = await world.issue("gateway/admin")
    for grace, then in (("1h", 200), ("0", 401)):
        cookie = await sign_in(world, other)
        turned = await ask(admin, "POST", f"/keys/{other.id}/rotate", {"grace": grace})
        assert (await get(world, "", cookie)).status == then
        found = parse(turned.json["key"])
        assert found is not None
        other = found


async def test_a_key_that_may_not_look_at_tools_makes_no_link_on_their_page(
    world: World, admin: Key
) -> None:
    writer = await world.issue("gateway/credentials-write")
    cookie = await sign_in(world, writer)
    csrf = csrf_of(await get(world, "credentials", cookie))
    form = f"csrf={csrf}&user=u1&credentials=github"
    answer = await post(world, "tools/fc/links", form, cookie)
    assert answer.status == 403
    assert [name async for name in world.client.scan_iter("*link*")] == []


async def test_a_link_for_a_user_is_shown_whole(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    form = f"csrf={csrf_of(await get(world, 'users', cookie))}&user=u1&credentials=github"
    page = (await post(world, "users", form, cookie)).body.decode()
    link = re.search(rf'id="link">{world.url}(/connect/\w+)<', page)
    assert link is not None
    assert (await world.call(None, link[1])).status == 200
    # It is open for 15 minutes, of which none has passed.
    assert b"<td>15 min</td>" in (await get(world, "users", await sign_in(world, admin))).body


async def test_a_link_that_went_to_somebody_else_is_ended_by_who_may_make_one(
    world: World, admin: Key
) -> None:
    for scope, may in (("gateway/read", False), ("gateway/admin", True)):
        cookie = await sign_in(world, await world.issue(scope))
        await new_link(world)
        page = await get(world, "users", cookie)
        assert (b"End the link" in page.body) is may
        form = f"csrf={csrf_of(page)}&user=ann"
        answer = await post(world, "users/end_links", form, cookie)
        assert answer.status == (200 if may else 403)
        assert (b"ann: the link has ended" in answer.body) is may
        assert (b" min" in (await get(world, "users", cookie)).body) is not may


async def test_what_a_key_may_not_do_its_session_may_not(world: World, admin: Key) -> None:
    reader = await world.issue("gateway/read")
    cookie = await sign_in(world, reader)
    page = await get(world, "keys", cookie)
    assert page.status == 200
    assert b"Make a key" not in page.body
    none = (await get(world, "keys?consumer=nobody", cookie)).body
    assert b"No key matches." in none and b"make a key" not in none
    refused = await post(world, "keys", f"csrf={csrf_of(page)}&consumer=x&scopes=agents/*", cookie)
    assert refused.status == 403
    assert (await get(world, "audit", cookie)).status == 403
    await world.client.hset(world.record(reader), "scopes", "gateway/audit")
    assert (await get(world, "audit", cookie)).status == 200
    assert (await get(world, "keys", cookie)).status == 403


@pytest.mark.parametrize("kind", ["agents", "unknown", "garbage", "empty", "canary"])
async def test_no_other_key_signs_in(world: World, admin: Key, kind: str) -> None:
    key = await world.issue("agents/*" if kind == "agents" else "gateway/admin")
    if kind == "unknown":
        await world.client.delete(world.record(key))
    if kind == "canary":
        await world.client.hset(world.record(key), "status", "canary")
    text = {"garbage": "not a key", "empty": ""}.get(kind, key.text)
    answer = await post(world, "login", f"key={text}")
    assert answer.status in (401, 403)
    assert "Set-Cookie" not in answer.headers
    assert key.text.encode() not in answer.body


async def test_a_key_is_told_what_it_lacks_once_it_is_proven_and_not_before(
    world: World, admin: Key
) -> None:
    async def problem(text: str) -> tuple[int, str]:
        answer = await post(world, "login", f"key={text}")
        said = re.search(r'<p class="denied" role="alert">(.*?)</p>', answer.body.decode())
        return answer.status, said[1] if said else ""

    key = await world.issue("agents/*")
    assert await problem(key.text) == (403, POWERLESS)
    assert await problem(wrong(key)) == (401, UNKNOWN_KEY)
    await world.client.hset(world.record(key), "status", "revoked")
    assert await problem(key.text) == (401, UNKNOWN_KEY)


async def test_a_form_of_another_site_does_nothing(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    page = await get(world, "keys", cookie)
    body = "consumer=x&scopes=agents/*"
    good = csrf_of(page)
    for sent, headers in (
        (body, {}),
        (f"csrf=&{body}", {}),
        (f"csrf={'0' * 64}&{body}", {}),
        (f"csrf={good}&{body}", {"Origin": "https://evil.example"}),
        (f"csrf={good}&{body}", {"Origin": "null"}),
        (f"csrf={good}&{body}", {"Origin": "http://[::1"}),
    ):
        assert (await post(world, "keys", sent, cookie, **headers)).status == 403
    assert b">x<" not in (await get(world, "keys", cookie)).body
    assert (await post(world, "keys", f"csrf={good}&{body}", cookie)).status == 200


async def test_a_form_that_is_refused_loses_nothing_but_secrets(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    csrf = f"csrf={csrf_of(await get(world, 'keys', cookie))}"
    body = f"{csrf}&consumer=sales&scopes=no+scope&label=for+the+shop&expires=soon&limits=often"
    refused = await post(world, "keys", body, cookie)
    assert refused.status == 422
    page = refused.body.decode()
    for kept in ("sales", "no scope", "for the shop", "soon", "often"):
        assert f'value="{kept}"' in page
    for bad in ("scopes", "expires", "limits"):
        assert f"<li><code>{bad}</code>" in page
    body = f"{csrf}&name=oss&type=ak_sk&field.access_key_id=an-id-0123"
    refused = await post(world, "credentials?type=ak_sk", body, cookie)
    assert refused.status == 422
    assert b'value="oss"' in refused.body
    assert b'name="field.access_key_secret"' in refused.body
    assert b"an-id-0123" not in refused.body
    body = f"{csrf}&name=idp&type=oauth2&field.token_url=http://idp.example.com/token"
    body += "&field.client_id=a&field.client_secret=b"
    refused = await post(world, "credentials?type=oauth2", body, cookie)
    assert (refused.status, b"no https URL" in refused.body) == (422, True)
    refused = await post(world, "policies", f"{csrf}&url=/x&key_id={admin.text}", cookie)
    assert (refused.status, b'value="/x"' in refused.body) == (422, True)
    assert admin.text.encode() not in refused.body
    refused = await post(world, "keys/bulk", f"{csrf}&act=revoke", cookie)
    assert (refused.status, b"Choose at least one key first." in refused.body) == (422, True)
    key = await world.issue("agents/*", consumer="shop")
    await world.issue("agents/*", consumer="sales")
    body = f"{csrf}&act=rotate&grace=long&chosen.{key.id}=yes"
    refused = await post(world, "keys/bulk?consumer=shop", body, cookie)
    page = refused.body.decode()
    assert (refused.status, re.findall(r'href="/console/keys/(\w{12})"', page)) == (422, [key.id])
    assert f'name="chosen.{key.id}" value="yes" checked' in page
    assert 'value="rotate" selected' in page and 'name="grace" value="long"' in page
    refused = await post(world, f"keys/{key.id}/rotate", f"{csrf}&grace=long", cookie)
    assert (refused.status, b'value="long"' in refused.body) == (422, True)


async def test_a_key_without_a_plan_is_chosen_and_not_the_default(world: World, admin: Key) -> None:
    world.serve(world.agent(), plans={name: Plan(name, Limits()) for name in ("a", "default")})
    cookie = await sign_in(world, admin)
    page = await get(world, "keys", cookie)
    assert b'<option value="default" selected>' in page.body
    assert page.body.count(b" selected>") == 1
    form = f"csrf={csrf_of(page)}&consumer=sales&plan="
    refused = await post(world, "keys", f"{form}&scopes=none", cookie)
    assert b" selected>default" not in refused.body
    assert (await post(world, "keys", f"{form}&scopes=agents/a", cookie)).status == 200
    (name,) = [
        name
        async for name in world.client.scan_iter(f"{world.store.prefix}key:*")
        if await world.client.hget(name, "consumer") == "sales"
    ]
    assert await world.client.hget(name, "plan") == ""


async def test_a_key_is_changed_in_what_differs_from_what_it_has(world: World, admin: Key) -> None:
    # Neither its plan nor its end would be taken anew.
    key = await world.issue("agents/other", consumer="sales", users=("ann",), label="for the shop")
    await world.client.hset(world.record(key), mapping={"plan": "gone", "expires_at": "1000000000"})
    cookie = await sign_in(world, admin)
    page = await get(world, f"keys/{key.id}", cookie)
    form = change_form(page)
    assert form["expires"] == "2001-09-09T01:46:40Z"
    assert b'<option value="gone" selected>' in page.body
    changed = form | {"scopes": "agents/echo services/crm", "users": ""}
    answer = await post(world, f"keys/{key.id}/change", urlencode(changed), cookie)
    assert (answer.status, f"{key.id}: changed" in answer.body.decode()) == (200, True)
    record = await world.client.hgetall(world.record(key))
    assert (record["scopes"], record["users"]) == ("agents/echo services/crm", "")
    assert (record["plan"], record["expires_at"], record["label"]) == (
        "gone",
        "1000000000",
        "for the shop",
    )
    form = change_form(answer) | {"expires": "", "plan": ""}
    assert (await post(world, f"keys/{key.id}/change", urlencode(form), cookie)).status == 200
    assert (await world.call(key)).status == 200
    same = change_form(await get(world, f"keys/{key.id}", cookie))
    answer = await post(world, f"keys/{key.id}/change", urlencode(same), cookie)
    assert f"{key.id}: unchanged" in answer.body.decode()
    acts = [(one["key_id"], one["actor"]) for one in await records(world, "key.update")]
    assert acts == [(key.id, f"key:{admin.id}")] * 2


async def test_a_key_that_ends_behind_all_calendars_is_shown_and_changed(
    world: World, admin: Key
) -> None:
    key = await world.issue("agents/echo", expires_at=LATEST_EXPIRY)
    cookie = await sign_in(world, admin)
    assert str(LATEST_EXPIRY) in (await get(world, "keys", cookie)).body.decode()
    form = change_form(await get(world, f"keys/{key.id}", cookie))
    assert form["expires"] == str(LATEST_EXPIRY)
    form["label"] = "for the shop"
    assert (await post(world, f"keys/{key.id}/change", urlencode(form), cookie)).status == 200


async def test_an_end_that_is_near_is_marked_where_the_key_still_lives(
    world: World, admin: Key
) -> None:
    key = await world.issue()
    cookie, mark = await sign_in(world, admin), b'<span class="state expiring">'
    now, _ = await world.client.time()
    for record, marked in (
        ({"expires_at": now + DAY}, True),
        ({"expires_at": now + 30 * DAY}, False),
        ({"expires_at": now + DAY, "status": "revoked"}, False),
    ):
        await world.client.hset(world.record(key), mapping=record)
        for page in (f"keys/{key.id}", "keys?consumer=sales"):
            assert (mark in (await get(world, page, cookie)).body) is marked


async def test_a_key_is_shown_with_when_redis_removes_its_record(world: World, admin: Key) -> None:
    key, cookie = await world.issue("agents/*"), await sign_in(world, admin)
    assert b"Removed by Redis" not in (await get(world, f"keys/{key.id}", cookie)).body
    await world.client.expireat(world.record(key), 4_000_000_000)
    shown = (await get(world, f"keys/{key.id}", cookie)).body.decode()
    assert "2096-10-02" in shown.partition("Removed by Redis")[2].partition("</dd>")[0]


async def test_of_two_who_change_a_key_the_later_is_told_what_the_earlier_did(
    world: World, admin: Key
) -> None:
    key = await world.issue("agents/echo", consumer="sales")
    cookie = await sign_in(world, admin)
    form = change_form(await get(world, f"keys/{key.id}", cookie))
    place = f"keys/{key.id}/change"
    first, second = form | {"scopes": "agents/other"}, form | {"label": "for the shop"}
    assert (await post(world, place, urlencode(first), cookie)).status == 200
    refused = await post(world, place, urlencode(second), cookie)
    assert (refused.status, "changed meanwhile" in refused.body.decode()) == (412, True)
    assert b"<li><code>scopes</code>: agents/other</li>" in refused.body
    assert await world.client.hget(world.record(key), "scopes") == "agents/other"
    again = change_form(refused)
    assert (again["label"], again["scopes"]) == ("for the shop", "agents/echo")
    answer = await post(world, place, urlencode(again | {"scopes": "agents/other"}), cookie)
    assert answer.status == 200
    record = await world.client.hgetall(world.record(key))
    assert (record["scopes"], record["label"]) == ("agents/other", "for the shop")
    # Without what it was shown with nothing says that it is not late.
    nameless = change_form(answer) | {"revision": "", "label": "late"}
    assert (await post(world, place, urlencode(nameless), cookie)).status == 412


async def test_a_change_that_is_refused_keeps_what_was_written(world: World, admin: Key) -> None:
    key = await world.issue("agents/echo", consumer="sales")
    cookie = await sign_in(world, admin)
    form = change_form(await get(world, f"keys/{key.id}", cookie))
    bad = form | {"scopes": "no scope", "limits": "often", "label": "for the shop"}
    refused = await post(world, f"keys/{key.id}/change", urlencode(bad), cookie)
    assert (refused.status, change_form(refused)) == (422, bad)
    assert b"<details open><summary>Change</summary>" in refused.body
    # Power over the gateway is given by those alone who have it all.
    other = await sign_in(world, await world.issue("gateway/keys"))
    form = change_form(await get(world, f"keys/{key.id}", other)) | {"scopes": "gateway/admin"}
    answer = await post(world, f"keys/{key.id}/change", urlencode(form), other)
    assert answer.status == 403
    assert await world.client.hget(world.record(key), "scopes") == "agents/echo"


def change_form(page: Answer) -> dict[str, str]:
    """What a browser would send of the form to change a key."""
    form = page.body.decode().partition('/change">')[2].partition("</form>")[0]
    fields = re.findall(r'<input(?: type="\w+")? name="(\w+)" value="([^"]*)"', form)
    plan = re.search(r'<option value="([^"]*)" selected>', form)
    assert fields
    return {name: unescape(text) for name, text in fields} | {"plan": plan[1] if plan else ""}


async def test_a_form_that_is_sent_twice_makes_one_key(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    page = await get(world, "keys", cookie)
    marker = re.search(rb'name="marker" value="([0-9A-Za-z]+)"', page.body)
    assert marker is not None
    form = f"csrf={csrf_of(page)}&marker={marker[1].decode()}&consumer=sales&scopes=agents/*"
    shown = [(await post(world, "keys", form, cookie)).body for _ in range(2)]
    ids = [re.findall(rb"agk_live_([0-9A-Za-z]{12})_", one) for one in shown]
    assert len(ids[0]) == 1
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("lang", "words"),
    [("en", "agents/ecoh; did you mean agents/echo?"), ("zh", "agents/ecoh，是否指 agents/echo？")],
)
async def test_a_scope_that_opens_nothing_is_told_of_with_the_name_that_was_meant(
    world: World, admin: Key, lang: str, words: str
) -> None:
    cookie = f"{await sign_in(world, admin)}; gateway_console_lang={lang}"
    form = f"csrf={csrf_of(await get(world, 'keys', cookie))}&consumer=sales"
    made = (await post(world, "keys", f"{form}&scopes=agents/ecoh agents/echo", cookie)).body
    assert made.decode().count(words) == 1
    key_id = re.findall(rb"agk_live_([0-9A-Za-z]{12})_", made)[0].decode()
    assert words in (await get(world, f"keys/{key_id}", cookie)).body.decode()
    many = " ".join(f"agents/none{number}" for number in range(6))
    six = (await post(world, "keys", f"{form}&scopes={many}", cookie)).body
    assert six.count(b'class="absent"') == 6
    five = (await post(world, "keys", f"{form}&scopes={many.rpartition(' ')[0]}", cookie)).body
    assert five.count(b'class="absent"') == 5
    good = (await post(world, "keys", f"{form}&scopes=agents/echo", cookie)).body
    assert b'class="absent"' not in good


async def test_a_key_sees_the_pages_that_it_may_and_begins_with_the_first(
    world: World, admin: Key
) -> None:
    cookie = await sign_in(world, await world.issue("gateway/keys"))
    first = await get(world, "", cookie)
    assert (first.status, first.headers["Location"]) == (303, "/console/keys")
    page = await get(world, "keys", cookie)
    menu = page.body.partition(b"<nav")[2].partition(b"</nav>")[0]
    assert re.findall(rb'href="([^"]+)"', menu) == [b"/console/keys"]
    # Whoever may only fetch credentials has no page.
    puller = await world.issue("gateway/credentials:crm")
    assert (await post(world, "login", f"key={puller.text}")).status == 403


async def test_signing_in_leads_to_what_was_asked_for(world: World, admin: Key) -> None:
    page = await get(world, "keys?consumer=a%26b&state=active")
    place = "/console/keys?consumer=a%26b&state=active"
    assert f'name="back" value="{escape(place)}"' in page.body.decode()
    back = f"back={quote(place, safe='')}"
    again = await post(world, "login", f"key=wrong&{back}")
    assert f'name="back" value="{escape(place)}"' in again.body.decode()
    assert (await post(world, "login", f"key={admin.text}&{back}")).headers["Location"] == place
    # Neither to another site, nor to a page that the key may not look at.
    keys = await world.issue("gateway/keys")
    for key, other in (
        (admin, "//evil.example/x"),
        (admin, "/console/login"),
        (keys, "/console/audit"),
    ):
        answer = await post(world, "login", f"key={key.text}&back={quote(other, safe='')}")
        assert (answer.status, answer.headers["Location"]) == (303, "/console/")


async def test_where_redis_does_not_answer_a_page_leads_to_itself(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    await world.client.execute_command("CLIENT", "PAUSE", 3000, "ALL")
    page = await get(world, "keys?consumer=sales", cookie)
    assert page.status == 503
    assert b'<a href="/console/keys?consumer=sales">Try again</a>' in page.body


@pytest.mark.parametrize(
    ("form", "page"),
    [("keys/bulk", "keys"), (f"keys/{'0' * 12}/contain", f"keys/{'0' * 12}"), ("login", "")],
)
async def test_the_address_of_a_form_leads_to_its_page(
    world: World, admin: Key, form: str, page: str
) -> None:
    answer = await get(world, form, await sign_in(world, admin))
    assert (answer.status, answer.headers["Location"]) == (303, f"/console/{page}")


async def test_what_a_key_was_refused_is_nothing_that_it_reached(
    world: World, ask: Ask, admin: Key
) -> None:
    world.serve(world.agent("one"), world.agent("two"))
    key = await world.issue("agents/one")
    assert (await world.call(key, "/agents/one/x")).status == 200
    assert (await world.call(key, "/agents/two/x")).code == "scope_denied"
    async with asyncio.timeout(20):
        while len((await ask(admin, "GET", f"/keys/{key.id}/reach")).json["reached"]) < 2:
            await asyncio.sleep(0.1)
    page = await get(world, f"keys/{key.id}", await sign_in(world, admin))
    assert b'<td class="mono">one</td><td class="number">1</td>' in page.body
    assert b'<td class="mono">two</td>' not in page.body


async def test_the_audit_is_searched_by_all_that_commands_search_it_by(
    world: World, admin: Key
) -> None:
    page = await get(world, "audit?user=ann&agent=tools/fc", await sign_in(world, admin))
    for name in FILTERS:
        assert f' name="{name}"'.encode() in page.body, name
    for kept in (b'name="user" value="ann"', b'name="agent" value="tools/fc"'):
        assert kept in page.body


async def test_of_a_record_that_was_made_by_hand_nobody_is_told_as_its_maker(
    world: World, admin: Key
) -> None:
    await world.client.hset(f"{world.store.prefix}key:{{handmade0000}}", "status", "active")
    page = (await get(world, "keys/handmade0000", await sign_in(world, admin))).body
    assert b"<dt>Created</dt><dd>unknown</dd>" in page


async def test_only_of_a_shared_credential_is_it_said_that_keys_may_pull_it(
    world: World, admin: Key
) -> None:
    vault, cookie = Vault(world.client), await sign_in(world, admin)
    for name, may in (("credentials/crm", True), ("users/ann/crm", False)):
        stored = name.replace("users/", "user/").removeprefix("credentials/")
        await keep(world, vault, stored, "api_key", value="a-value-of-somebody")
        page = (await get(world, name, cookie)).body
        assert b"Nowhere: no service" in page
        assert (b"may pull it" in page) is may


async def test_a_key_is_contained_without_scrolling_past_all_that_it_may_reach(
    world: World, admin: Key
) -> None:
    key = await world.issue("agents/*")
    page = await get(world, f"keys/{key.id}", await sign_in(world, admin))
    assert page.body.index(b"/contain") < page.body.index(b"What this key may reach")


@pytest.mark.parametrize(("most", "told"), [(0, True), (100, False)])
async def test_a_look_back_that_saw_not_all_says_so_and_how_to_go_on(
    world: World, admin: Key, monkeypatch: pytest.MonkeyPatch, most: int, told: bool
) -> None:
    monkeypatch.setattr(uses, "MOST_LOOKED_AT", most)
    audit = Audit(AuditStore(world.client, "gw:"), audit_keys(MasterKeys(())))
    await audit.record(AuditEvent("key.update", key_id=admin.id))
    page = await get(world, f"keys/{admin.id}", await sign_in(world, admin))
    assert ("gateway audit export --since 7d" in unescape(page.body.decode())) == told


async def test_who_has_to_wait_at_the_sign_in_is_told_so_by_a_page(
    world: World, admin: Key
) -> None:
    # Without its tag each guess costs an argon2, of which there are so many a minute.
    await world.client.hdel(world.record(admin), "tag")
    guesses = [f"agk_live_{admin.id}_{number:032}" for number in range(PER_KEY.burst + 2)]
    answers = [await post(world, "login", f"key={guess}{checksum(guess)}") for guess in guesses]
    assert answers[0].status == 401
    assert answers[-1].status == 503
    assert b"Wait a moment, then try again" in answers[-1].body


async def test_whoever_guesses_keys_at_the_sign_in_keeps_nobody_out(
    world: World, admin: Key
) -> None:
    """Behind one proxy all come from one address."""
    guesses = [f"key={wrong(admin)}" for _ in range(PER_ADDRESS.burst + 2)]
    assert {(await post(world, "login", guess)).status for guess in guesses} == {401}
    await sign_in(world, admin)


async def test_behind_a_trusted_proxy_whoever_costs_an_argon2_waits_alone(
    world: World, admin: Key
) -> None:
    world.policies = replace(world.policies, trusted_proxies=(ip_network("127.0.0.0/8"),))
    keys = [await world.issue("gateway/admin") for _ in range(5)]
    for key in (admin, *keys):
        await world.client.hdel(world.record(key), "tag")
    # At once, and three more than are allowed: one more is allowed every two seconds.
    guesses = [wrong(keys[number % len(keys)]) for number in range(PER_ADDRESS.burst + 3)]

    async def come(key: str, address: str) -> int:
        told = {"X-Forwarded-For": address}
        return (await post(world, "login", f"key={key}", **told)).status

    assert {*await asyncio.gather(*(come(guess, "192.0.2.1") for guess in guesses))} == {401}
    assert await come(admin.text, "192.0.2.1") == 503
    assert await come(admin.text, "192.0.2.2") == 303


async def test_pages_are_framed_by_nobody_and_run_nothing_in_line(world: World, admin: Key) -> None:
    cookie = await sign_in(world, admin)
    for path in ("", "keys", "policies", "credentials", "users", "audit", "nowhere"):
        page = await get(world, path, cookie)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["Cache-Control"] == "no-store"
        assert not re.search(rb"<script(?! src)|style=|\son\w+=|https?://", page.body)


async def test_the_page_of_the_audit_tells_of_acts_that_nobody_signed(
    world: World, admin: Key
) -> None:
    audit = Audit(AuditStore(world.client, world.store.prefix), audit_keys(MasterKeys(())))
    await audit.record(AuditEvent("key.create", consumer="made-up"))
    await audit.close()
    page = (await get(world, "audit/verify", await sign_in(world, admin))).body.decode()
    assert "or are not signed" in page and "it is not signed" in page
    assert "Unsigned acts on keys: 2<" in page


async def test_whoever_is_not_signed_in_sees_nothing_else(world: World, admin: Key) -> None:
    for path in ("", "keys", "audit", "credentials"):
        page = await get(world, path)
        assert page.status == 200
        assert b'name="key"' in page.body
        assert b"<table" not in page.body
    assert (await post(world, "keys", "consumer=x&scopes=agents/*")).status == 401


async def test_a_language_is_chosen_and_leads_nowhere_else(world: World, admin: Key) -> None:
    chosen = await post(world, "language", "lang=zh&back=/console/keys")
    assert chosen.headers["Location"] == "/console/keys"
    page = await get(world, "", chosen.headers["Set-Cookie"].partition(";")[0])
    assert 'lang="zh-Hans"' in page.body.decode()
    back = "%2Fconsole%2Fkeys%3Fconsumer%3Da%252F%252Fb"
    there = await post(world, "language", f"lang=zh&back={back}")
    assert there.headers["Location"] == "/console/keys?consumer=a%2F%2Fb"
    for back in (
        "/console/%0d%0aX-A:%20b",
        "https://evil.example",
        "//evil.example",
        "/console/..//evil",
        "/other",
    ):
        assert (await post(world, "language", f"lang=zh&back={back}")).status == 400


def test_every_text_of_the_pages_is_there_in_chinese() -> None:
    pages = files("gateway.admin.console").joinpath("pages")
    found: set[str] = set()
    for page in pages.iterdir():
        for double, single in re.findall(
            r"""_\((?:"([^"]+)"|'([^']+)')\)""", page.read_text(encoding="utf-8")
        ):
            found.add(double or single)
    assert found
    acts = {word for act in Act for word in (act, f"would {act}")}
    outcomes = {
        "changed",
        "revoked",
        "disabled",
        "enabled",
        "rotated",
        "unchanged",
        "deleted",
        "refused",
    }
    states = {*State, *CredentialState}
    titles = {*TITLES.values(), Refusal(418, "teapot", "").title}
    told = {CHANGED_MEANWHILE, ENDED, POWERLESS, UNDONE, UNKNOWN_KEY, "changed"}
    made = {name for _, name in MENU} | acts | outcomes | states | titles | told
    assert sorted((found | made) - CHINESE.keys()) == []


def test_every_step_of_an_explanation_is_there_in_chinese_with_its_places() -> None:
    def places(text: str) -> list[str]:
        return sorted(name for _, name, _, _ in Formatter().parse(text) if name)

    said = {*About, *Found}
    assert EXPLAINED.keys() == said
    assert [text for text in said if places(text) != places(EXPLAINED[text])] == []
    # One word of a page cannot be two.
    assert {text: CHINESE[text] for text in said & CHINESE.keys()}.items() <= EXPLAINED.items()


async def test_an_explanation_is_told_in_the_language_of_the_page(world: World, admin: Key) -> None:
    # What a record says is no word of the page.
    key = await world.issue("agents/echo:*", consumer="active")
    cookie = await sign_in(world, admin)
    csrf = csrf_of(await get(world, "policies", cookie))
    form = f"csrf={csrf}&key_id={key.id}&url=/agents/echo/x"
    english = (await post(world, "policies", form, cookie)).body.decode()
    assert "<dt>scope</dt><dd>agents/echo:invoke is granted by agents/echo:*</dd>" in english
    assert "<dt>key</dt><dd>of active, active</dd>" in english
    chinese = (await post(world, "policies", form, f"{cookie}; gateway_console_lang=zh")).body
    for row in (
        "<dt>请求</dt><dd>格式正确</dd>",
        "<dt>密钥</dt><dd>属于 active，有效</dd>",
        "<dt>范围</dt><dd>agents/echo:invoke 由 agents/echo:* 授予</dd>",
    ):
        assert row in chinese.decode()


async def test_what_is_refused_most_is_told_in_chinese_too(
    world: World, ask: Ask, admin: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the API says beneath: that is what operators look for, and report."""
    reader = await world.issue("gateway/read")
    key, closed, decoy = [await world.issue("agents/*") for _ in range(3)]
    await world.client.hset(world.record(closed), "status", "revoked")
    await world.client.hset(world.record(decoy), "status", "canary")
    cookie, limited = await sign_in(world, admin), await sign_in(world, reader)
    csrf = f"csrf={csrf_of(await get(world, 'keys', cookie))}"
    chinese = "gateway_console_lang=zh"
    new = f"{csrf}&consumer=x"
    for asking, said in (
        (get(world, "keys/000000000000", f"{cookie}; {chinese}"), "没有密钥 000000000000"),
        (get(world, "credentials/none", f"{cookie}; {chinese}"), "没有凭据 none"),
        (get(world, "tools/none", f"{cookie}; {chinese}"), "策略中没有工具 none"),
        (get(world, "audit", f"{limited}; {chinese}"), "需要以下范围之一：gateway/audit"),
        (post(world, f"keys/{closed.id}/enable", csrf, f"{cookie}; {chinese}"), "已吊销：轮换"),
        (post(world, f"keys/{decoy.id}/enable", csrf, f"{cookie}; {chinese}"), "是诱饵"),
        (post(world, "keys", f"{new}&scopes=no", f"{cookie}; {chinese}"), "&#39;no&#39; 不是范围"),
        (post(world, "keys", f"{new}&scopes=gateway", f"{cookie}; {chinese}"), "不是范围"),
        (post(world, "keys", f"{new}&scopes=gateway/*", f"{cookie}; {chinese}"), "须写全名"),
        (
            post(world, "keys", f"{new}&scopes=agents/*&expires=soon", f"{cookie}; {chinese}"),
            "既不是 30d",
        ),
        (
            post(world, "keys", f"{new}&scopes=agents/*&users=%C3%A9", f"{cookie}; {chinese}"),
            "不是用户 ID",
        ),
        (
            post(world, f"keys/{key.id}/rotate", f"{csrf}&grace=long", f"{cookie}; {chinese}"),
            "之类的时长",
        ),
    ):
        page = (await asking).body.decode()
        (shown,) = re.findall(r'(?s)<section class="card problem".*?</section>', page)
        assert said in shown and '<small lang="en">' in shown, shown
    english = (await get(world, "keys/000000000000", cookie)).body.decode()
    assert "There is no key 000000000000: see" in unescape(english) and "没有密钥" not in english


def test_every_refusal_in_chinese_names_what_it_does_in_english() -> None:
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    for english, chinese in REFUSED.items():
        names = places(english)
        told = in_chinese(english.format(**{name: f"<{name}>" for name in names}))
        assert told == chinese.format(**{name: f"<{name}>" for name in names}), english
        assert places(chinese) <= names


def test_scripts_of_others_are_what_they_were() -> None:
    folder = files("gateway.admin.console").joinpath("static")
    told = folder.joinpath("README.md").read_text(encoding="utf-8")
    vendored = dict(re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})`", told, re.MULTILINE))
    assert [name for name in vendored if name not in STATIC] == []
    assert {name for name in STATIC if ".min." in name} == set(vendored)
    for name, digest in vendored.items():
        assert sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest


async def test_what_came_of_reading_the_files_is_told_where_it_was_asked_for(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    live = live_files(tmp_path, "version: 1\n")
    async with new_world(store, client, live=live) as world:
        cookie = await sign_in(world, await world.issue("gateway/admin", consumer="ops"))
        form = f"csrf={csrf_of(await get(world, 'policies', cookie))}"

        async def read(text: str) -> str:
            (tmp_path / "a.yaml").write_text(text)
            answer = await post(world, "policies/reload", form, cookie)
            assert answer.status == 200
            return answer.body.decode()

        assert "nothing has changed." in await read("version: 1\n")
        page = await read("version: 1\nplans: {p: {rate: 1}}\n")
        assert "just now: they cannot be used." in page and "a.yaml:2:19" in page
        page = (await get(world, "policies", cookie)).body.decode()
        assert "just now" not in page and "a.yaml:2:19" in page
        page = await read("version: 1\nplans: {p: {rate: 1/s}}\n")
        assert "just now and are in force." in page and "a.yaml:2:9" in page
