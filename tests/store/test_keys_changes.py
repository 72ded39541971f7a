"""Changes of a record: no write loses another's, none brings a deleted key back."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.store.connections.failures import StoreFullError
from gateway.store.keys import KeyStore
from tests.store.key_records import FIELDS, HOUR, ID, NAME, OTHER_ID, present, secret, tag


async def test_nothing_brings_a_deleted_key_back(keys: KeyStore, client: Redis) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await client.delete(NAME)
    assert (await keys.rotate(ID, secret(2), HOUR))[0] == "missing"
    assert await keys.set_status(ID, "revoked") == "missing"
    assert await keys.set_status(ID, "active") == "missing"
    assert await keys.update(ID, {"label": "x"}) == "missing"
    assert await keys.write_tag(ID, "hash-1", tag("00000000"), ["00000000"], False) is False
    assert await keys.delete(ID) == "missing"
    assert await client.keys("*") == []


async def test_a_record_made_by_hand_without_a_hash_can_be_revoked_but_not_opened(
    keys: KeyStore, client: Redis
) -> None:
    await client.hset(NAME, "status", "paused")
    assert (await keys.rotate(ID, secret(1), 0))[0] == "no_secret"
    assert await keys.set_status(ID, "active") == "no_secret"
    assert await keys.set_status(ID, "revoked") == "done"
    assert await client.hget(NAME, "status") == "revoked"


async def test_what_was_made_without_a_hash_can_be_closed_and_a_decoy_stays_one(
    keys: KeyStore, client: Redis
) -> None:
    await client.hset(NAME, "status", "active")
    assert await keys.set_status(ID, "disabled") == "done"
    assert await keys.set_status(ID, "active") == "no_secret"
    await keys.create(OTHER_ID, secret(1), {**FIELDS, "status": "canary"})
    for target in ("active", "disabled"):
        assert await keys.set_status(OTHER_ID, target) == "canary"
    assert (await present(keys, OTHER_ID)).status == "canary"
    assert await keys.set_status(OTHER_ID, "revoked") == "done"


async def test_a_revocation_says_when_it_was(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.set_status(ID, "revoked")
    record = await present(keys)
    assert int(record.revoked_at) >= int(record.created_at) > 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"label": "a", "plan": ""}, {"label": "", "plan": "a"}),
        ({"label": "a,1:b", "plan": "c"}, {"label": "a", "plan": "b,1:c"}),
        ({"label": "a"}, {"label": "-"}),
    ],
)
async def test_a_change_is_made_to_the_record_that_was_looked_at_and_to_no_other(
    keys: KeyStore, before: dict[str, str], after: dict[str, str]
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.update(ID, before)
    _, revision = await keys.revised(ID)
    await keys.update(ID, after)
    assert await keys.update(ID, {"users": "*"}, revision) == "changed"
    assert await keys.delete(ID, revision) == "changed"
    _, revision = await keys.revised(ID)
    assert await keys.update(ID, {"users": "*"}, revision) == "done"
    _, revision = await keys.revised(ID)
    assert await keys.delete(ID, revision) == "done"


@pytest.mark.parametrize(
    ("status", "target", "verdict", "after"),
    [
        ("active", "revoked", "done", "revoked"),
        ("disabled", "revoked", "done", "revoked"),
        ("odd", "revoked", "done", "revoked"),
        ("revoked", "revoked", "already", "revoked"),
        ("active", "disabled", "done", "disabled"),
        ("disabled", "disabled", "already", "disabled"),
        ("revoked", "disabled", "revoked", "revoked"),
        ("disabled", "active", "done", "active"),
        ("odd", "active", "done", "active"),
        ("active", "active", "already", "active"),
        ("revoked", "active", "revoked", "revoked"),
    ],
)
async def test_disable_and_enable_never_bring_a_revoked_key_nearer_to_life(
    keys: KeyStore, status: str, target: str, verdict: str, after: str
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.update(ID, {"status": status})
    assert await keys.set_status(ID, target) == verdict
    assert (await present(keys)).status == after


async def test_the_first_revocation_s_time_stays(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.set_status(ID, "revoked")
    await keys.update(ID, {"revoked_at": "1234"})
    await keys.set_status(ID, "revoked")
    assert (await present(keys)).revoked_at == "1234"


async def test_operators_at_once_lose_no_field(keys: KeyStore) -> None:
    """Each writes its own field; whatever the order, all are there at the end."""
    await keys.create(ID, secret(0), FIELDS)
    names = ("consumer", "label", "scopes", "plan", "limits", "users", "expires_at")
    await asyncio.gather(
        *(keys.update(ID, {name: f"{name}-{turn}"}) for turn in range(5) for name in names),
        *(keys.rotate(ID, secret(n), HOUR) for n in range(1, 10)),
        keys.set_status(ID, "revoked"),
        *(keys.set_status(ID, "disabled") for _ in range(5)),
    )
    record = await present(keys)
    assert all(getattr(record, name).startswith(f"{name}-") for name in names)
    assert record.hash.removeprefix("hash-") == record.tag.removeprefix("tag-")
    assert record.previous_hash.removeprefix("hash-") == record.previous_tag.removeprefix("tag-")
    assert record.created_at


async def test_a_deletion_among_writes_leaves_nothing_behind(keys: KeyStore, client: Redis) -> None:
    for turn in range(20):
        await keys.create(ID, secret(turn), FIELDS)
        await asyncio.gather(
            *(keys.update(ID, {"label": f"{n}"}) for n in range(5)),
            keys.rotate(ID, secret(100 + turn), HOUR),
            keys.delete(ID),
            keys.set_status(ID, "revoked"),
            *(keys.update(ID, {"plan": f"{n}"}) for n in range(5)),
        )
        assert await client.keys("*") == []


async def test_delete_removes_the_key_s_counters_and_nobody_else_s(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.create(OTHER_ID, secret(1), FIELDS)
    names = ("rate:{%s}:rate", "rate:{%s}:agent:support:rate", "quota:{%s}:day", "lease:{%s}")
    for name in (*names, "used:{%s}"):
        await client.set(f"gw:{name}" % ID, 1)
        await client.set(f"gw:{name}" % OTHER_ID, 1)
        await client.set(f"other:{name}" % ID, 1)
    assert await keys.delete(ID) == "done"
    left = await client.keys("gw:*")
    assert len(left) == 6
    assert all(OTHER_ID in name for name in left)
    assert len(await client.keys("other:*")) == 5


async def test_a_time_to_live_set_by_hand_stays(keys: KeyStore, client: Redis) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await client.expire(NAME, 1000)
    await keys.update(ID, {"label": "x"})
    await keys.rotate(ID, secret(2), HOUR)
    await keys.set_status(ID, "disabled")
    assert 0 < await client.ttl(NAME) <= 1000


async def test_a_full_redis_refuses_writes_and_a_revocation_deletes_instead(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.create(OTHER_ID, secret(1), FIELDS)
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFullError):
            await keys.set_status(ID, "disabled")
        with pytest.raises(StoreFullError):
            await keys.rotate(ID, secret(2), HOUR)
        assert (await present(keys)).hash == "hash-1"
        assert await keys.set_status(ID, "revoked") == "deleted"
        assert await keys.get(ID) is None
        assert await keys.delete(OTHER_ID) == "done"
    finally:
        await client.config_set("maxmemory", 0)
