"""Credential records in Redis: nothing is lost, a poll reads what is new, and all share a slot."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from gateway.domain.credentials import CredentialId
from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.commands import BATCH
from gateway.store.connections.connect import open_store
from gateway.store.vault import LONGEST_WAIT, VaultNews, VaultStore, Written
from tests.flows.own_store import own_store

A, B, MINE = CredentialId("aa"), CredentialId("bb"), CredentialId("aa", "u.1@x")


@pytest.fixture
def vault(client: Redis) -> VaultStore:
    return VaultStore(client, "gw:")


async def ids_since(vault: VaultStore, revision: int) -> set[CredentialId]:
    return {found for found, _ in (await vault.written_since(revision)).ids}


async def test_an_empty_vault_has_revision_zero(vault: VaultStore) -> None:
    found = await vault.written_since(0)
    assert found == Written(0, (), found.at)
    assert await vault.get(A) is None


async def test_a_poll_reads_what_was_written_since_and_nothing_else(vault: VaultStore) -> None:
    for one in (A, B, MINE):
        assert await vault.put(one, f"record of {one}".encode(), None)
    first = await vault.written_since(0)
    assert {i for i, _ in first.ids} == {A, B, MINE}
    assert max(revision for _, revision in first.ids) == first.revision
    assert (await vault.written_since(first.revision)).ids == ()
    assert await vault.put(B, b"new", b"record of bb")
    second = await vault.written_since(first.revision)
    assert second.ids == ((B, second.revision),)
    assert second.revision > first.revision
    assert await vault.read([A, B, MINE]) == {
        A: b"record of aa",
        B: b"new",
        MINE: b"record of user/u.1@x/aa",
    }


async def test_whoever_has_read_something_older_does_not_write_over_it(vault: VaultStore) -> None:
    assert await vault.put(A, b"one", None)
    assert not await vault.put(A, b"two", None)
    assert not await vault.put(A, b"two", b"something else")
    assert not await vault.put(B, b"two", b"never there")
    assert await vault.get(A) == b"one"
    before = (await vault.written_since(0)).revision
    took = await asyncio.gather(*(vault.put(A, b"%d" % i, b"one") for i in range(20)))
    assert took.count(True) == 1
    assert (await vault.written_since(before)).ids[0][0] == A


async def test_a_deletion_is_told_to_pollers_and_remembers_its_version(vault: VaultStore) -> None:
    await vault.put(A, b"one", None)
    before = (await vault.written_since(0)).revision
    assert not await vault.delete(A, b"what was there before", 7)
    assert await vault.get(A) == b"one"
    assert await vault.delete(A, b"one", 7)
    assert not await vault.delete(A, b"one", 7)
    assert await ids_since(vault, before) == {A}
    assert await vault.last_versions([A, B]) == [7, None]
    assert await vault.put(A, b"again", None)
    assert await vault.last_versions([A]) == [None]


async def test_only_a_deletion_deletes(vault: VaultStore) -> None:
    """An empty record, if one were ever made, must not pass for none."""
    await vault.put(A, b"one", None)
    assert await vault.put(A, b"", b"one")
    assert await vault.get(A) == b""
    assert await vault.last_versions([A]) == [None]


async def test_a_vault_that_was_lost_never_counts_through_the_same_numbers(
    vault: VaultStore, client: Redis
) -> None:
    await vault.put(A, b"one", None)
    before = (await vault.written_since(0)).revision
    await client.flushall()
    await vault.put(B, b"two", None)
    assert (await vault.written_since(0)).revision > before


async def test_a_clock_that_goes_back_hides_no_write_from_pollers(
    vault: VaultStore, client: Redis
) -> None:
    """A poller asks for what came after the revision that it knows."""
    ahead = 2**52
    await client.set("gw:cred:{vault}:revision", ahead)
    await vault.put(A, b"one", None)
    assert (await vault.written_since(ahead)).ids == ((A, ahead + 1),)
    await vault.delete(A, b"one", 1)
    assert (await vault.written_since(ahead + 1)).ids == ((A, ahead + 2),)


@pytest.mark.parametrize("revision", ["1e300", "inf", "nan", "no number", str(2**53)])
async def test_a_revision_that_nothing_can_follow_is_begun_anew(
    vault: VaultStore, client: Redis, revision: str
) -> None:
    for act in (vault.put(A, b"one", None), vault.delete(A, b"one", 1)):
        await client.set("gw:cred:{vault}:revision", revision)
        assert await act
        found = await vault.written_since(0)
        assert 10**15 < found.revision < 2**53
        assert found.ids == ((A, found.revision),)


@pytest.mark.parametrize("number", [str(2**53 + 2), "9" * 5000])
async def test_numbers_that_nobody_can_have_written_count_for_nothing(
    vault: VaultStore, client: Redis, number: str
) -> None:
    await vault.put(A, b"one", None)
    await client.zadd("gw:cred:{vault}:changes", {"bb": 2**53 + 2})
    await client.set("gw:cred:{vault}:revision", number)
    await client.hset("gw:cred:{vault}:gone", "bb", number)
    found = await vault.written_since(0)
    assert (found.revision, [i for i, _ in found.ids]) == (0, [A])
    assert await vault.last_versions([B]) == [0]


async def test_of_many_each_is_read(vault: VaultStore, client: Redis) -> None:
    """More than one round trip asks for."""
    many = [CredentialId(f"a{number}") for number in range(2 * BATCH + 1)]
    await client.mset({vault.name(one): str(one) for one in many})
    await client.hset("gw:cred:{vault}:gone", mapping={str(i): n for n, i in enumerate(many, 1)})
    assert await vault.read(many) == {one: str(one).encode() for one in many}
    assert await vault.last_versions(many) == [*range(1, len(many) + 1)]


async def test_scripts_that_redis_has_forgotten_are_sent_again(
    vault: VaultStore, client: Redis
) -> None:
    await vault.put(A, b"one", None)
    await client.script_flush()
    assert await vault.put(A, b"two", b"one")
    await client.script_flush()
    assert await vault.delete(A, b"two", 1)


async def test_all_names_share_a_slot_and_the_prefix(vault: VaultStore, client: Redis) -> None:
    await VaultStore(client, "other:").put(MINE, b"one", None)
    await VaultStore(client, "other:").delete(MINE, b"one", 1)
    await VaultStore(client, "other:").put(A, b"one", None)
    names = await client.keys("*")
    assert len(names) == 5
    assert all(name.startswith("other:cred:{vault}:") for name in names)
    assert len({key_slot(name.encode()) for name in names}) == 1


@pytest.fixture(params=["", "?protocol=2", "?protocol=3"])
async def news(store: StoreSettings, request: pytest.FixtureRequest) -> AsyncIterator[VaultNews]:
    url = f"{store.url}{request.param}"
    async with open_store(replace(store, url=url), LONGEST_WAIT) as waiting:
        yield VaultNews(waiting, "gw:")


async def test_whoever_waits_is_told_of_the_last_write_after_a_revision_as_soon_as_there_is_one(
    vault: VaultStore, news: VaultNews, client: Redis
) -> None:
    assert await news.after(0, 0.01) == 0
    waiting = asyncio.create_task(news.after(0, 20.0))
    async with asyncio.timeout(15):
        while (await client.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0.01)
    await vault.put(A, b"one", None)
    first = await waiting
    assert first == (await vault.written_since(0)).revision
    assert await news.after(first, 0.01) == first
    await vault.put(B, b"one", None)
    assert await client.xlen("gw:cred:{vault}:news") == 1
    await vault.delete(A, b"one", 1)
    assert await news.after(first, 0.01) == (await vault.written_since(0)).revision
    assert await client.xlen("gw:cred:{vault}:news") == 1


async def test_a_redis_that_says_nothing_is_not_waited_for_much_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.store.vault.SLACK", 0.1)
    async with own_store() as own, open_store(own.settings, LONGEST_WAIT) as waiting:
        news = VaultNews(waiting, "gw:")
        assert await news.after(0, 0.01) == 0
        own.freeze()
        assert await news.after(7, 0.01) == 7
        own.thaw()
        assert await news.after(0, 0.01) == 0


async def test_an_entry_added_by_hand_with_a_revision_that_was_heard_is_no_news(
    vault: VaultStore, news: VaultNews, client: Redis
) -> None:
    await vault.put(A, b"one", None)
    revision = (await vault.written_since(0)).revision
    await client.xadd("gw:cred:{vault}:news", {"r": ""}, f"{revision}-7")
    began = time.monotonic()
    assert await news.after(revision, 0.1) == revision
    assert time.monotonic() - began > 0.05


async def test_news_that_cannot_be_told_lose_no_write(
    vault: VaultStore, news: VaultNews, client: Redis
) -> None:
    await client.set("gw:cred:{vault}:news", "no stream")
    assert await vault.put(A, b"one", None)
    assert await vault.delete(A, b"one", 1)
    with pytest.raises(StoreError):
        await news.after(0, 0.01)


async def test_what_others_put_there_by_hand_breaks_nothing(
    vault: VaultStore, client: Redis
) -> None:
    await vault.put(A, b"one", None)
    await client.zadd("gw:cred:{vault}:changes", {"no id": 5, b"\xff": 6})
    await client.set("gw:cred:{vault}:revision", "no number")
    assert await ids_since(vault, 0) == {A}
    assert await vault.put(A, b"two", b"one")
    assert (await vault.written_since(0)).revision > 10**15
    await client.set("gw:cred:{vault}:changes", "no set")
    with pytest.raises(StoreError):
        await vault.written_since(0)
