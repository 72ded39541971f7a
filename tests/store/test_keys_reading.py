"""Reading records: whatever stands in Redis is an answer or one error, never a crash."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.domain.errors import StoreError
from gateway.domain.keys.record import field_names
from gateway.store.key_reader import LastUsed
from gateway.store.keys import KeyStore
from tests.store.key_records import FIELDS, HOUR, ID, NAME, OTHER_ID, secret


@pytest.mark.parametrize("command", ["SET {} x", "RPUSH {} x", "SADD {} x", "ZADD {} 1 x"])
async def test_a_name_that_holds_no_record_is_an_error_and_no_crash(
    keys: KeyStore, client: Redis, command: str
) -> None:
    await client.execute_command(*command.format(NAME).split())
    for attempt in (
        keys.get(ID),
        keys.set_status(ID, "revoked"),
        keys.update(ID, {"label": "x"}),
        keys.rotate(ID, secret(1), 0),
        keys.write_tag(ID, "h", "t", [], False),
    ):
        with pytest.raises(StoreError, match="of another type"):
            await attempt
    assert [record async for record in keys.read([ID])] == []
    assert await keys.delete(ID) == "done"


async def test_what_holds_no_record_is_known_to_be_none(keys: KeyStore, client: Redis) -> None:
    """So that it ends the open streams of its key."""
    await client.hset(NAME, "consumer", "sales")
    await client.set(NAME.replace(ID, OTHER_ID), "no hash")
    missing = "0" * 12
    known = await keys.known([ID, missing, OTHER_ID])
    assert known == {ID: await keys.get(ID), missing: None, OTHER_ID: None}


@settings(max_examples=50)
@given(values=st.dictionaries(st.sampled_from(field_names()) | st.text(), st.binary(), min_size=1))
async def test_any_bytes_in_a_record_can_be_read(client: Redis, values: dict[str, bytes]) -> None:
    keys = KeyStore(client, "gw:")
    await client.delete(NAME)
    await client.hset(NAME, mapping={k.encode(errors="replace"): v for k, v in values.items()})
    record = await keys.get(ID)
    assert (record is None) is (not set(values) & set(field_names()))
    listed = [found async for found in keys.read(await keys.ids())]
    assert listed == ([record] if record else [])
    await keys.set_status(ID, "disabled")
    await keys.rotate(ID, secret(1), HOUR)


async def test_ids_are_sorted_and_foreign_names_are_left_out(keys: KeyStore, client: Redis) -> None:
    for name in (OTHER_ID, ID, "000000000000"):
        await client.hset(f"gw:key:{{{name}}}", "status", "active")
    for name in ("gw:key:short", "gw:key:{short}", f"xgw:key:{{{ID}}}", f"gw:key:{{{ID}}}x"):
        await client.hset(name, "status", "active")
    await client.execute_command("HSET", b"gw:key:{\xff\xff\xff\xff\xff\xff\xff\xff}", "a", "b")
    assert await keys.ids() == ["000000000000", ID, OTHER_ID]


async def test_a_prefix_of_glob_characters_is_taken_literally(client: Redis) -> None:
    odd, plain = KeyStore(client, "a*[x]?:"), KeyStore(client, "ab[x]c:")
    await odd.create(ID, secret(1), FIELDS)
    await plain.create(OTHER_ID, secret(1), FIELDS)
    assert await odd.ids() == [ID]
    assert await odd.delete(ID)
    assert await plain.ids() == [OTHER_ID]


async def test_last_use_is_told_where_it_is_known(keys: KeyStore, client: Redis) -> None:
    assert await keys.last_used(ID) == LastUsed()
    await client.hset(f"gw:used:{{{ID}}}", mapping={"current": "1800000000", "previous": "odd"})
    assert await keys.last_used(ID) == LastUsed(1_800_000_000, None)


async def test_where_something_else_is_in_the_place_of_its_last_use_a_key_is_not_said_to_be_unused(
    keys: KeyStore, client: Redis
) -> None:
    await client.set(f"gw:used:{{{ID}}}", "no times")
    assert await keys.last_used(ID) == LastUsed()
    assert await keys.used_since([ID, OTHER_ID], 0) == {ID}


async def test_no_replica_attached_is_told_apart_from_one_that_does_not_answer(
    keys: KeyStore,
) -> None:
    async with keys.on_one_connection() as line:
        assert await line.replicated([ID], 10) is None


@pytest.fixture
async def unreachable() -> AsyncIterator[KeyStore]:
    gone: Redis = Redis(unix_socket_path="/nonexistent/socket", retry=Retry(NoBackoff(), 0))
    yield KeyStore(gone, "gw:")
    await gone.aclose()


async def test_a_redis_that_is_away_is_one_error(unreachable: KeyStore) -> None:
    for attempt in (
        unreachable.get(ID),
        unreachable.ids(),
        unreachable.now(),
        unreachable.known([ID]),
    ):
        with pytest.raises(StoreError, match="could not answer"):
            await attempt
    with pytest.raises(StoreError):
        async for _ in unreachable.read([ID]):
            pass
