"""The connect page as a person uses it: link, values, the call works, removed, refused."""

from playwright.async_api import BrowserContext

from gateway.domain.keys.key import Key
from tests.flows.links import SERVICE, called, new_link
from tests.flows.services import backend, put
from tests.flows.world import World

VALUE = "typed-by-a-person-0123456789"
LONG = "u" * 128


async def test_a_person_connects_an_account_and_removes_it(
    world: World, person: BrowserContext
) -> None:
    said: list[str] = []
    async with backend() as crm:
        put(world, SERVICE.format(url=crm.url))
        key: Key = await world.issue("services/crm", users=(LONG,))
        page = await person.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(world.url + await new_link(world, user=LONG))
        await page.set_viewport_size({"width": 390, "height": 844})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.get_by_label("Key or token").fill(VALUE)
        assert await page.get_by_label("Key or token").get_attribute("type") == "password"
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("status").wait_for()
        assert "connected" in await page.get_by_role("heading", name="crm").inner_text()
        assert VALUE not in await page.content()
        assert (await called(world, key, LONG)).status == 200
        assert crm.last.headers["x-token"] == [VALUE]
        await page.get_by_role("button", name="Remove").click()
        await page.get_by_text("crm was removed.").wait_for()
        assert (await called(world, key, LONG)).code == "credential_unavailable"
        stranger = await person.browser.new_context() if person.browser else person
        other = await stranger.new_page()
        answer = await other.goto(page.url)
        assert answer is not None
        assert answer.status == 404
        await stranger.close()
    assert said == []
