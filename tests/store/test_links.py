"""Links in Redis: each is one browser's, however many come at once, and none outlives its end."""

import asyncio

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.links import LINK_SECONDS, Link, RequestedCredential
from gateway.store.links import LinkStore

LINK = Link("ann", (RequestedCredential("github"),))


@pytest.fixture
async def links(client: Redis) -> LinkStore:
    made = LinkStore(client, "gw:")
    await made.add("digest", LINK, "operator:bob")
    return made


async def test_of_browsers_that_come_at_once_one_has_the_link(links: LinkStore) -> None:
    sessions = [f"session-{number}" for number in range(20)]
    took = await asyncio.gather(*(links.use("digest", one) for one in sessions))
    assert took.count(True) == 1
    found = await links.get("digest")
    assert found is not None and found.session == sessions[took.index(True)]
    assert [await links.use("digest", one) for one in sessions] == took


async def test_a_link_that_has_ended_is_not_begun_anew_by_its_use(
    links: LinkStore, client: Redis
) -> None:
    assert await links.remove_all_of("ann") == 1
    assert not await links.use("digest", "session")
    assert await client.keys("*") == []


async def test_a_link_ends_by_itself_whatever_is_done_with_it(
    links: LinkStore, client: Redis
) -> None:
    await links.use("digest", "session")
    assert 0 < await client.ttl("gw:link:digest") <= LINK_SECONDS


async def test_what_somebody_put_in_a_links_place_hides_no_other_and_keeps_none_open(
    links: LinkStore, client: Redis
) -> None:
    await client.set("gw:link:odd", "no link")
    with capture_logs() as logs:
        assert [link for link, _ in await links.all()] == [LINK]
    assert [(one["event"], one["name"]) for one in logs] == [("record_strange", "gw:link:odd")]
    assert await links.remove_all_of("ann") == 1
    assert await client.keys("*") == ["gw:link:odd"]
