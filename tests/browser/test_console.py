"""The console as people use it: each page does its job, and the data plane sees it at once."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page

from gateway.admin.console.credential_pages import ROWS
from gateway.domain.keys.key import Key
from tests.flows.audit import come
from tests.flows.links import SERVICE, new_link
from tests.flows.services import Backend, backend, keep, put, service
from tests.flows.tools import tools
from tests.flows.world import World
from tests.services.vaults import Vault

PAGES = ("", "keys", "policies", "credentials", "users", "tools", "audit")
# What a browser notes down of answers that the tests ask for.
EXPECTED = tuple(f"status of {code}" for code in (401, 404, 422, 503))
# In how many lines each text of an element is.
LINES_OF_TEXTS = """e => [...e.childNodes].filter(one => one.nodeType === 3).map(one => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return range.getClientRects().length;
})"""
# Such names come from strangers, and have to be shown as they are.
NASTY = "<script>alert(1)</script>\"'<img src=x onerror=alert(2)>"


@pytest.fixture
async def page(browser: Browser, world: World, admin: Key) -> AsyncIterator[Page]:
    """Signed in; whatever the browser complains of fails the test."""
    context = await browser.new_context(locale="en-GB", timezone_id="Asia/Shanghai")
    context.set_default_timeout(10_000)
    opened = await context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    foreign: list[str] = []
    origin = f"http://{world.gateways[0].admin.address}"
    opened.on("request", lambda r: None if r.url.startswith(origin) else foreign.append(r.url))
    await opened.goto(f"{origin}/console/")
    await opened.get_by_label("Key").fill(admin.text)
    await opened.get_by_role("button", name="Sign in").click()
    await opened.get_by_role("heading", name="Overview").wait_for()
    yield opened
    await context.close()
    assert [text for text in said if not any(code in text for code in EXPECTED)] == []
    assert foreign == []


async def go(page: Page, name: str) -> None:
    await page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    await page.get_by_role("heading", level=1, name=name).wait_for()


async def make_key(page: Page) -> None:
    await go(page, "Keys")
    await page.locator("summary", has_text="Make a key").click()
    await page.get_by_label("Consumer").first.fill("sales")
    await page.get_by_label("Scopes, separated by spaces").fill("agents/*")
    await page.get_by_role("button", name="Make a key").click()
    await page.get_by_role("button", name="Copy").wait_for()


async def test_a_key_is_made_used_rotated_and_contained(page: Page, world: World) -> None:
    await make_key(page)
    first = await page.locator("#issued").inner_text()
    assert (await world.call(first)).status == 200
    await page.get_by_role("status").get_by_role("link").click()
    await page.get_by_label("Grace of the old secret").fill("0s")
    await page.get_by_role("button", name="Rotate").click()
    await page.get_by_role("button", name="Copy").wait_for()
    second = await page.locator("#issued").inner_text()
    assert (await world.call(first)).code == "key_invalid"
    assert (await world.call(second)).status == 200
    await page.get_by_role("status").get_by_role("link").click()
    await page.get_by_role("button", name="Disable").click()
    assert (await world.call(second)).code == "key_disabled"
    await page.get_by_role("button", name="Enable").click()
    await page.get_by_role("button", name="Disable").wait_for()
    assert (await world.call(second)).status == 200
    await page.get_by_text("Contain: revoke").click()
    await page.get_by_role("button", name="Yes, revoke it for good").click()
    await page.get_by_role("status").wait_for()
    assert (await world.call(second)).code == "key_revoked"
    assert second not in await page.content()


async def test_a_decision_is_explained(page: Page, world: World) -> None:
    key = await world.issue("agents/other")
    await go(page, "Policies")
    await page.get_by_label("URL").fill("/agents/echo/x")
    await page.get_by_label("Key id").fill(key.id)
    await page.get_by_role("button", name="Explain").click()
    await page.get_by_text("scope_denied").wait_for()
    # Neither of these is called there: what was asked stays, with what is wrong.
    await page.get_by_label("Model").fill("gpt-4")
    await page.get_by_role("button", name="Explain").click()
    await page.get_by_role("alert").wait_for()
    assert await page.get_by_label("URL").input_value() == "/agents/echo/x"
    await page.get_by_label("Model").fill("")
    await page.get_by_label("URL").fill("/readyz")
    await page.get_by_role("button", name="Explain").click()
    await page.get_by_text("The gateway itself would answer it").wait_for()


async def test_a_credential_is_kept_and_never_shown(page: Page, world: World) -> None:
    value = "typed-into-the-console-0123"
    await go(page, "Credentials")
    await page.get_by_label("Name").fill("crm_key")
    await page.get_by_label("value", exact=True).fill(value)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("cell", name="crm_key").wait_for()
    await page.get_by_role("status").get_by_text("crm_key: version 1.").wait_for()
    assert value not in await page.content()
    await page.locator("summary", has_text="Rotate").click()
    await page.get_by_role("cell").get_by_label("value", exact=True).fill(f"{value}-2")
    await page.get_by_role("cell").get_by_role("button", name="Rotate").click()
    await page.get_by_role("cell", name="2", exact=True).wait_for()
    await page.get_by_role("status").get_by_text("crm_key: version 2.").wait_for()
    assert value not in await page.content()
    # Fields whose names are up to whoever keeps them.
    await page.locator("summary", has_text="Add a credential").click()
    await page.get_by_label("Type").select_option("headers")
    await page.get_by_role("button", name="Choose").click()
    await page.get_by_label("Name", exact=True).fill("partner")
    await page.get_by_label("Value 1").fill(value)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("Name 1").fill("X-Partner-Key")
    await page.get_by_label("Expires").fill("30d")
    await page.get_by_label("Value 1").fill(value)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("cell", name="partner").wait_for()
    # One of several parts; and nothing is removed at a single press.
    await page.locator("summary", has_text="Add a credential").click()
    await page.get_by_label("Type").select_option("ak_sk")
    await page.get_by_role("button", name="Choose").click()
    await page.get_by_label("Name").fill("oss")
    await page.get_by_label("access_key_id").fill("an-id")
    await page.get_by_label("access_key_secret").fill(value)
    await page.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text="oss")
    await row.get_by_text("Rotate").first.click()
    await row.locator("summary", has_text="Remove").click()
    await row.get_by_role("button", name="Yes, remove it").click()
    await row.wait_for(state="detached")
    await page.get_by_role("status").get_by_text("oss: deleted").wait_for()


async def test_one_of_many_credentials_and_users_is_found(page: Page, world: World) -> None:
    vault = Vault(world.client)
    for number in range(ROWS + 1):
        await keep(world, vault, f"user/u{number:03}/crm", "api_key", value="a-token-of-a-user")
    for name, last in (("Credentials", f"user/u{ROWS}/crm"), ("Users", f"u{ROWS}")):
        cell = page.get_by_role("cell", name=last, exact=True)
        await go(page, name)
        # The heading and a page of rows.
        assert await page.get_by_role("row").count() == 1 + ROWS
        await page.get_by_role("link", name="Next page").click()
        await cell.wait_for()
        assert await page.get_by_role("row").count() == 1 + 1
        await page.get_by_label("Part of the").fill("u00")
        await page.get_by_role("button", name="Find").click()
        await cell.wait_for(state="detached")
        assert await page.get_by_role("row").count() == 1 + 10
        await page.get_by_label("Part of the").fill("nobody")
        await page.get_by_role("button", name="Find").click()
        await page.get_by_text(f"No {name[:-1].lower()} matches.").wait_for()


async def test_a_leaked_credential_is_contained_with_the_keys_that_used_it(
    page: Page, world: World
) -> None:
    """From the credential: new value, old one ended, keys revoked; from a key: where it came."""
    value = "the-value-that-leaked-0123"
    async with backend() as crm:
        await keep(world, Vault(world.client), "crm_key", "api_key", value=value)
        put(world, service(crm, inject={"headers": {"X-Token": "${credentials.crm_key}"}}))
        key, other = await world.issue("services/crm"), await world.issue("services/crm")
        assert (await world.call(key, "/services/crm/x")).status == 200
        await go(page, "Credentials")
        await page.get_by_role("link", name="crm_key").click()
        await page.get_by_role("heading", name="crm_key").wait_for()
        assert await page.get_by_role("listitem").get_by_text("services/crm").count() == 1
        await page.get_by_text("Contain: set a new value").click()
        await page.get_by_label("value").fill(f"{value}-2")
        await page.get_by_role("button", name="Yes, replace it without grace").click()
        await page.get_by_text("The new values are in force").wait_for()
        assert value not in await page.content()
        await page.get_by_label(key.id).check()
        await page.get_by_role("button", name="Revoke the chosen keys").click()
        await page.get_by_text("Nothing has been done yet").wait_for()
        assert (await world.call(key, "/services/crm/x")).status == 200
        await page.get_by_role("button", name="Yes, do this").click()
        await page.get_by_text("Done:").wait_for()
        assert (await world.call(key, "/services/crm/x")).code == "key_revoked"
        async with asyncio.timeout(15):
            while crm.last.headers["x-token"] != [f"{value}-2"]:
                assert (await world.call(other, "/services/crm/x")).status == 200
        await page.get_by_role("link", name=key.id).click()
        await page.get_by_text("Nothing at present: the key is revoked").wait_for()
        assert await page.get_by_role("link", name="crm_key").count() == 1


async def test_all_keys_of_a_department_are_rotated_at_once(page: Page, world: World) -> None:
    olds = [await world.issue(consumer="shop") for _ in range(3)]
    await go(page, "Keys")
    await page.get_by_label("Consumer").last.fill("shop")
    await page.get_by_role("button", name="Find").click()
    await page.get_by_label("All keys of this page").check()
    await page.get_by_label(olds[1].id).uncheck()
    await page.get_by_label("With the chosen keys").select_option("rotate")
    await page.get_by_label("Grace of the old secret").fill("0")
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_text("Nothing has been done yet").wait_for()
    assert [(await world.call(old)).status for old in olds] == [200, 200, 200]
    await page.get_by_role("button", name="Yes, do this: rotate, 2").click()
    await page.get_by_text("Done:").wait_for()
    shown = await page.locator("td code").all_inner_texts()
    assert [(await world.call(new)).status for new in shown] == [200, 200]
    assert [(await world.call(old)).status for old in olds] == [401, 200, 401]
    await go(page, "Keys")
    await page.get_by_label("Consumer").last.fill("shop")
    await page.get_by_role("button", name="Find").click()
    await page.get_by_label("All keys of shop").check()
    await page.get_by_label("With the chosen keys").select_option("revoke")
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_role("button", name="Yes, do this: revoke, 3").click()
    await page.get_by_text("Done:").wait_for()
    assert [(await world.call(key)).code for key in (olds[1], *shown)] == ["key_revoked"] * 3


COVERED = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect();
  const middle = [box.left + box.width / 2, box.top + box.height / 2];
  return !one.contains(document.elementFromPoint(...middle));
}"""


async def test_no_row_is_behind_the_bar_of_acts_while_it_has_the_focus(
    page: Page, world: World
) -> None:
    for _ in range(25):
        await world.issue(consumer="shop")
    await go(page, "Keys")
    await page.get_by_label("All keys of this page").focus()
    for _ in range(2 * 25):
        await page.keyboard.press("Tab")
        assert not await page.evaluate(COVERED)


async def test_a_link_made_here_opens_the_connect_page(page: Page, world: World) -> None:
    async with backend() as crm:
        put(world, SERVICE.format(url=crm.url))
        await go(page, "Users")
        await page.get_by_label("User", exact=True).fill("ann")
        await page.get_by_label("Credentials to ask the user for").fill("crm")
        await page.get_by_role("button", name="Make a link for a user").click()
        url = await page.locator("#link").inner_text()
        assert url.startswith(f"{world.url}/connect/")
        assert (await world.call(None, url.removeprefix(world.url))).status == 200


async def test_a_tool_shows_who_can_use_it_and_connects_who_cannot(
    page: Page, world: World
) -> None:
    inject = {"headers": {"A": "${user.github.value}", "B": "${user.crm.value}"}}
    await keep(world, Vault(world.client), "user/ann/github", "api_key", value="a-github-token")
    put(world, tools("http://127.0.0.1:9/mcp", inject=inject))
    await go(page, "Tools")
    await page.get_by_role("link", name="fc", exact=True).click()
    row = page.get_by_role("row").filter(has_text="ann")
    assert await row.get_by_text("not connected").count() == 1
    await row.get_by_role("button", name="Make a link").click()
    url = await page.locator("#link").inner_text()
    opened = await world.call(None, url.removeprefix(world.url))
    assert opened.status == 200
    assert b"crm" in opened.body
    assert b"github" not in opened.body
    await row.get_by_role("button", name="End the link").click()
    await page.get_by_role("status").get_by_text("ann: the link has ended").wait_for()
    assert (await world.call(None, url.removeprefix(world.url))).status != 200
    assert await row.get_by_role("button", name="End the link").count() == 0
    await keep(world, Vault(world.client), "user/ann/crm", "api_key", value="a-crm-token-0123")
    await go(page, "Tools")
    await page.get_by_role("link", name="fc", exact=True).click()
    await page.get_by_text("connected", exact=True).wait_for()
    assert url not in await page.content()


async def test_what_was_done_is_in_the_audit_and_leads_to_its_key(
    page: Page, world: World, admin: Key
) -> None:
    await make_key(page)
    await go(page, "Audit")
    await page.get_by_label("Event").fill("key.create")
    await page.get_by_role("button", name="Find").click()
    row = page.get_by_role("row").filter(has_text="key.create")
    assert "UTC" in (await row.locator("time").get_attribute("title") or "")
    # Who did it, and for whom.
    await page.get_by_label("Event").fill("")
    await world.client.xadd(
        f"{world.store.prefix}audit", {"record": json.dumps({"event": "audit.end"})}
    )
    await page.get_by_role("button", name="Find").click()
    await row.wait_for()
    assert await page.get_by_role("cell", name="audit.end").count() == 0
    assert f"key:{admin.id} sales" in await row.inner_text()
    await row.get_by_role("link").click()
    await page.get_by_role("heading", name="sales").wait_for()


async def test_where_a_call_went_is_not_broken_within_a_name(page: Page, world: World) -> None:
    called = {
        "ts": 1.8e9,
        "event": "tool.call",
        "key_id": "4xT9mQ2LrB7c",
        "actor": "key:000000000000",
        "consumer": "sales-emea",
        "agent": "tools/gh",
        "tool": "echo",
        "user": "ann@example.com",
        "credentials": [{"name": "user/ann@example.com/github", "version": 12}],
        "decision": "denied",
        "code": "credential_unavailable",
    }
    await page.set_viewport_size({"width": 1280, "height": 900})
    await go(page, "Audit")
    await page.get_by_role("button", name="Follow").click()
    await page.get_by_text("Live").wait_for()
    stream = f"{world.store.prefix}audit"
    await world.client.xadd(stream, {"record": json.dumps(called)})
    own = [{"name": "user/ann/crm", "version": 0}]
    used = {**called, "agent": "services/crm", "tool": "", "credentials": own}
    await world.client.xadd(stream, {"record": json.dumps(used)})
    for _ in ("live", "loaded"):
        for name in ("tools/gh:echo", "services/crm", "user/ann/crm"):
            cell = page.get_by_role("cell", name=name, exact=True)
            assert set(await cell.evaluate(LINES_OF_TEXTS)) == {1}, name
        await page.reload()


async def test_the_audit_is_followed_paused_verified_and_exported(page: Page, world: World) -> None:
    other = await world.issue("agents/other", consumer="watched")
    await go(page, "Audit")
    offered = await page.locator("#events option").all_inner_texts()
    assert {"request.denied", "credential.*"} <= set(offered)
    await page.get_by_label("Event").fill("request.denied")
    await page.get_by_role("button", name="Find").click()
    await page.get_by_text("No record matches.").wait_for()
    rows = page.get_by_role("row").filter(has_text="request.denied")
    await page.get_by_role("button", name="Follow live").click()
    await page.get_by_text("Live: new records come first.").wait_for()
    await world.call(other)
    await rows.first.wait_for()
    # What came first is told by its second, as it comes and later; and what was asked for.
    newest = await world.client.xrevrange(f"{world.store.prefix}audit", count=1)
    ts = json.loads(newest[0][1]["record"])["ts"]
    second = datetime.fromtimestamp(ts, ZoneInfo("Asia/Shanghai")).strftime("%H:%M:%S")
    shown = await rows.first.inner_text()
    assert second in shown and "\techo\t" in shown
    again = await page.context.new_page()
    await again.goto(page.url)
    assert second in await again.get_by_role("row").filter(has_text="watched").inner_text()
    await again.close()
    assert "UTC" in (await rows.first.locator("time").get_attribute("title") or "")
    assert await rows.first.get_by_role("link").inner_text() == other.id
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_text("Paused.").wait_for()
    await world.call(other)
    await come(world, "request.denied", 2)
    assert await rows.count() == 1
    # What happened while it was paused is not lost, and nothing is shown twice.
    await page.get_by_role("button", name="Follow live").click()
    await rows.nth(1).wait_for()
    await world.call(other)
    await rows.nth(2).wait_for()
    assert await rows.count() == 3
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Export as JSON lines").click()
    lines = Path(await (await started.value).path()).read_text().splitlines()
    assert [json.loads(line)["consumer"] for line in lines] == ["watched"] * 3
    await page.get_by_role("button", name="Verify").click()
    await page.get_by_text("The records are intact.").wait_for()
    name = f"{world.store.prefix}audit"
    entry, fields = (await world.client.xrange(name))[0]
    edited = fields["record"].replace("watched", "nobody!")
    await world.client.delete(name)
    await world.client.xadd(name, {"record": edited}, id=entry)
    await page.get_by_role("button", name="Verify").click()
    await page.get_by_text("Records were changed, dropped or made up").wait_for()
    assert entry in await page.get_by_role("status").first.inner_text()


async def test_the_live_view_ends_with_the_session_and_shows_strangers_words_as_words(
    page: Page, world: World, admin: Key
) -> None:
    await go(page, "Audit")
    await page.get_by_role("button", name="Follow live").click()
    await page.get_by_text("Live: new records come first.").wait_for()
    # By hand, even what is no time and no list.
    told = {
        "ts": "soon",
        "credentials": NASTY,
        "event": NASTY,
        "consumer": NASTY,
        "key_id": NASTY,
        "user": NASTY,
    }
    name = f"{world.store.prefix}audit"
    await world.client.xadd(name, {"record": json.dumps(told)})
    await page.get_by_text(NASTY).first.wait_for()
    assert await page.locator("img, b, script:not([src])").count() == 0
    await world.client.xadd(name, {"record": json.dumps({"ts": 1e300, "credentials": [7]})})
    await go(page, "Audit")
    await page.get_by_text(NASTY).first.wait_for()
    await page.get_by_role("button", name="Follow live").click()
    await page.get_by_text("Live: new records come first.").wait_for()
    await world.client.hset(world.record(admin), "status", "revoked")
    await page.get_by_text("The live view has ended.").wait_for(timeout=30_000)


async def test_what_strangers_write_is_shown_and_does_nothing(page: Page, world: World) -> None:
    key = await world.issue("agents/*")
    fields = ("consumer", "label", "scopes", "plan", "limits", "users", "created_by", "last4")
    await world.client.hset(world.record(key), mapping=dict.fromkeys(fields, NASTY))
    await world.client.xadd(
        f"{world.store.prefix}audit",
        {"record": json.dumps({"event": "<script>alert(3)</script>", "consumer": "<b>x</b>"})},
    )
    await keep(world, Vault(world.client), "crm_key", "api_key", value="a-value-of-a-crm")
    used = {"event": "credential.use", "key_id": key.id, "consumer": NASTY, "agent": NASTY, "ts": 1}
    used["credentials"] = [{"name": "crm_key", "version": 1}, {"name": NASTY, "version": 1}]
    await world.client.xadd(f"{world.store.prefix}audit", {"record": json.dumps(used)})
    for path in ("keys", f"keys/{key.id}", "credentials/crm_key", "audit"):
        await page.goto(page.url.split("/console/")[0] + f"/console/{path}")
        assert await page.locator("script:not([src])").count() == 0
        assert await page.locator("img, b").count() == 0
    await go(page, "Keys")
    await page.get_by_label(key.id).check()
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_text(NASTY).first.wait_for()
    assert await page.locator("img, b, script:not([src])").count() == 0
    await go(page, "Audit")
    assert await page.get_by_text("<script>alert(3)</script>").count() == 1


LONG = tuple(f"agents/{'a' * 40}{number}:read" for number in range(9))
WHOLE = """
version: 1
agents:
  support:
    upstream: {agent}
    routes: [{{path: /chat, methods: [POST], action: chat}}, {{path: /docs/**, action: read}}]
services:
  crm: {{upstream: "{crm}", inject: {{headers: {{X-Token: "${{credentials.crm_key}}"}}}}}}
tools:
  fc:
    transport: http
    upstream: "{crm}/mcp"
    inject: {{headers: {{A: "${{user.github.value}}", B: "${{user.jira.value}}"}}}}
"""


async def something_of_everything(world: World, crm: Backend) -> Key:
    """A department whose key has called an agent and a service; and users of a tool."""
    vault = Vault(world.client)
    await keep(world, vault, "crm_key", "api_key", value="a-value-of-a-crm")
    for user in ("ann", "bob"):
        await keep(world, vault, f"user/{user}/github", "api_key", value="a-token-of-github")
    await keep(world, vault, "user/ann/jira", "api_key", value="a-token-of-jira")
    put(world, WHOLE.format(agent=f"http://127.0.0.1:{world.agent_port}", crm=crm.url))
    scopes = ("agents/support:chat", "services/crm", "tools/fc:search")
    key = await world.issue(*scopes, consumer="sales", label="for the shop")
    for _ in range(3):
        assert (await world.call(key, "/agents/support/chat", "POST")).status == 200
        assert (await world.call(key, "/services/crm/x")).status == 200
    other = await world.issue("agents/other", consumer="finance")
    assert (await world.call(other, "/agents/support/docs/a")).code == "scope_denied"
    await come(world, "request.denied", 1)
    return key


async def check(page: Page, shots: Path, name: str) -> None:
    """As it is now: no serious finding of axe, light and dark, nothing sideways on a phone."""
    for scheme in ("light", "dark"):
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = await Axe().run(page)
        bad = [
            (one["id"], one["nodes"][0]["html"])
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert bad == [], (name, scheme)
        await page.screenshot(path=shots / f"{name}-{scheme}.png", full_page=True)
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390, name
    await page.screenshot(path=shots / f"{name}-phone.png", full_page=True)


async def test_it_can_be_used_by_everybody(page: Page, world: World, tmp_path: Path) -> None:
    shots = Path(os.environ.get("GATEWAY_SCREENSHOTS") or tmp_path)
    base = page.url.split("/console/")[0]
    async with backend() as crm:
        key = await something_of_everything(world, crm)
        ones: tuple[str, ...] = (
            f"keys/{key.id}",
            "credentials/crm_key",
            "tools/fc",
            "users/ann/github",
        )
        long = await world.issue(*LONG, consumer="c" * 128, label="l" * 256, expires_at=2**33)
        ones += (f"keys/{long.id}", f"keys?consumer={'c' * 128}")
        # The overview last: by then what was used is counted.
        for path in (*PAGES[1:], "audit/verify", *ones, PAGES[0]):
            await page.goto(f"{base}/console/{path}")
            name = path.partition("/")[0].partition("?")[0] if path else "overview"
            await check(page, shots, name if path in PAGES else f"{name}-one")
            await page.get_by_role("button", name="中文").click()
            assert await page.locator("html").get_attribute("lang") == "zh-Hans"
            await page.get_by_role("button", name="English").click()
        await page.set_viewport_size({"width": 1280, "height": 900})
        await new_link(world, user="u" * 128)
        for path in ("users", "audit"):
            await page.goto(f"{base}/console/{path}")
            # However long one of them is, no column is pushed out of sight.
            assert await page.locator(".scroll").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        await page.goto(f"{base}/console/keys")
        # However long others are, an id is one line.
        for link in await page.locator("td.id a").all():
            assert (await link.bounding_box() or {"height": 99})["height"] < 30
        await page.get_by_label(key.id).check()
        await page.get_by_label("With the chosen keys").select_option("rotate")
        await page.get_by_role("button", name="Preview").click()
        await check(page, shots, "keys-bulk")
        await page.get_by_role("button", name="Yes, do this").click()
        await check(page, shots, "keys-bulk-done")
        await page.goto(f"{base}/console/keys/{'0' * 12}")
        await check(page, shots, "message")


TOOK = re.compile(r"[0-9.]+ m?s")
SHIFTS = """() => { window.shifted = 0; new PerformanceObserver(list => {
  for (const one of list.getEntries()) window.shifted += one.value;
}).observe({type: "layout-shift", buffered: false}); }"""


async def test_the_overview_is_live_while_somebody_looks(page: Page, world: World) -> None:
    """Figures come by themselves, nothing moves, and a tab that nobody sees asks for nothing."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate(SHIFTS)
    key = await world.issue("agents/*", consumer="<b>sales</b>")
    for _ in range(3):
        await world.call(key)
    await page.get_by_role("cell", name="<b>sales</b>").wait_for(timeout=30_000)
    assert int(await page.locator(".figure").first.inner_text()) >= 3
    times = page.get_by_role("row", name="Total").get_by_role("cell")
    assert [bool(TOOK.fullmatch(one)) for one in await times.all_inner_texts()] == [True] * 3
    assert [await page.locator(f"figure path.line{one}").count() for one in (1, 2)] == [1, 1]
    assert await page.evaluate("window.shifted") < 0.01
    assert set(asked) == {page.url}
    hide = "h => Object.defineProperty(document, 'hidden', {get: () => h, configurable: true})"
    await page.evaluate(hide, True)
    before = len(asked)
    for _ in range(3):
        await page.evaluate("htmx.trigger(document.getElementById('live'), 'refresh')")
    assert len(asked) == before
    await page.evaluate(hide, False)
    async with page.expect_response(page.url, timeout=30_000):
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def made(world: World, admin: Key) -> int:
    """Status of an attempt to make a key by the admin API, which is done once it is on record."""
    url = f"http://{world.gateways[0].admin.address}/admin/v1/keys"
    headers = {"Authorization": f"Bearer {admin.text}"}
    asked = {"consumer": "sales", "scopes": ["agents/*"]}
    async with world.session.post(url, json=asked, headers=headers) as answer:
        return answer.status


async def test_what_is_wrong_shows_by_itself_and_a_session_that_ends_leads_out(
    page: Page, world: World, admin: Key
) -> None:
    # Its clock is ours: the page looks every five seconds.
    await page.clock.install()
    await page.reload()
    well = page.get_by_text("All is well")
    await well.wait_for()

    async def comes(shown: Locator) -> None:
        await page.clock.run_for(6_000)
        await shown.wait_for()

    await page.route("**/console/", lambda route: route.fulfill(status=503, body="<p>no</p>"))
    await comes(page.get_by_text("No answer: these are the last known figures"))
    assert await page.locator("body.stale").count() == 1
    await page.unroute("**/console/")
    await comes(page.locator("body:not(.stale)"))
    world.gateways[0].draining = True
    await comes(page.get_by_text("This worker is not ready. Missing: draining"))
    world.gateways[0].draining = False
    await comes(well)
    stream = f"{world.store.prefix}audit"
    await world.client.set(stream, "of somebody else")
    assert await made(world, admin) == 503
    await comes(page.get_by_text("The audit could not be written"))
    await world.client.delete(stream)
    assert await made(world, admin) == 201
    await comes(well)
    await world.client.hset(world.record(admin), "status", "revoked")
    await comes(page.get_by_role("heading", name="Sign in"))


async def test_the_first_page_is_small(page: Page) -> None:
    sizes = await page.evaluate(
        "performance.getEntries().filter(e => e.transferSize).map(e => e.transferSize)"
    )
    assert sum(sizes) < 300_000
