"""A record that comes from elsewhere: put here whole or not at all, and over nothing that is meant
to stay."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.record import ALWAYS_WRITTEN, KeyRecord
from gateway.store.keys import KeyStore
from tests.store.key_records import HOUR, ID, NAME, present

USED = f"gw:used:{{{ID}}}"
RECORD = KeyRecord(
    ID, "hash-1", "tag-1", "active", "sales", scopes="agents/*", previous_hash="hash-0"
)


async def put(
    keys: KeyStore,
    record: KeyRecord = RECORD,
    removed_at: int | None = None,
    *,
    overwrite: bool = True,
    dry_run: bool = False,
) -> str:
    return await keys.put(KeyCopy(record, removed_at), overwrite=overwrite, dry_run=dry_run)


async def test_a_record_is_here_as_it_was_there(keys: KeyStore, client: Redis) -> None:
    assert await put(keys) == "made"
    assert await present(keys) == RECORD
    assert {*await client.hkeys(NAME)} == {*ALWAYS_WRITTEN, "hash", "tag", "previous_hash"}
    assert await client.ttl(NAME) == -1
    assert await put(keys) == "same"
    assert await put(keys, overwrite=False) == "same"


async def test_what_is_here_stays_unless_it_is_to_be_replaced(keys: KeyStore) -> None:
    await put(keys)
    other = replace(RECORD, hash="hash-2", previous_hash="", consumer="finance")
    assert await put(keys, other, overwrite=False) == "taken"
    assert await put(keys, other, dry_run=True) == "replaced"
    assert await present(keys) == RECORD
    assert await put(keys, other) == "replaced"
    assert await present(keys) == other


async def test_nothing_is_made_where_it_is_only_told(keys: KeyStore) -> None:
    assert await put(keys, dry_run=True) == "made"
    assert await keys.get(ID) is None


async def test_what_was_revoked_here_lives_by_no_copy(keys: KeyStore) -> None:
    revoked = replace(RECORD, status="revoked")
    await put(keys, revoked)
    for status in ("active", "disabled", ""):
        assert await put(keys, replace(RECORD, status=status)) == "revoked"
    assert await present(keys) == revoked
    assert await put(keys, replace(revoked, label="why")) == "replaced"


async def test_the_end_that_redis_keeps_is_that_of_the_copy(keys: KeyStore, client: Redis) -> None:
    now = await keys.now()
    for past in (now, now - 1):
        assert await put(keys, removed_at=past) == "ended"
    assert await keys.get(ID) is None
    assert await put(keys, removed_at=now + HOUR) == "made"
    assert await client.expiretime(NAME) == now + HOUR
    assert await put(keys, removed_at=now + HOUR) == "same"
    assert await put(keys, removed_at=now + 2 * HOUR) == "replaced"
    assert await client.expiretime(NAME) == now + 2 * HOUR
    assert await put(keys) == "replaced"
    assert await client.ttl(NAME) == -1


@pytest.mark.parametrize(("hashed", "tagged"), [("hash", "tag"), ("previous_hash", "previous_tag")])
async def test_a_tag_that_is_here_stays_beside_its_own_hash_alone(
    keys: KeyStore, hashed: str, tagged: str
) -> None:
    """It may be of a pepper that nobody else knows."""
    await put(keys, replace(RECORD, **{tagged: "tag-here"}))
    for sent in ("tag-there", ""):
        assert await put(keys, replace(RECORD, **{tagged: sent})) == "same"
    assert getattr(await present(keys), tagged) == "tag-here"
    await put(keys, replace(RECORD, **{hashed: "hash-9", tagged: "tag-9"}))
    assert getattr(await present(keys), tagged) == "tag-9"
    await put(keys, replace(RECORD, **{hashed: "hash-9", tagged: ""}))
    await put(keys, replace(RECORD, **{hashed: "hash-10", tagged: ""}))
    assert getattr(await present(keys), tagged) == ""
    await put(keys, replace(RECORD, **{hashed: "hash-10", tagged: "tag-10"}))
    assert getattr(await present(keys), tagged) == "tag-10"


async def test_when_a_secret_was_used_goes_with_the_secret(keys: KeyStore, client: Redis) -> None:
    await put(keys)
    await client.hset(USED, mapping={"current": "1", "previous": "1", "any": "1"})
    await put(keys, replace(RECORD, label="another"))
    assert await client.hlen(USED) == 3
    await put(keys, replace(RECORD, hash="hash-2"))
    assert await client.hkeys(USED) == ["any"]


async def test_what_others_have_under_these_names_is_left_alone(
    keys: KeyStore, client: Redis
) -> None:
    await client.set(NAME, "somebody else's")
    assert await put(keys) == "strange"
    assert await client.get(NAME) == "somebody else's"
    await client.delete(NAME)
    await client.set(USED, "somebody else's")
    assert await put(keys) == "made", "only history"
    assert await present(keys) == RECORD
