"""Secrets of a record: made once, replaced without losing a grace, never overwritten by a rival."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.store.keys import IDEMPOTENCY_SECONDS, KeyStore, NewSecret
from tests.store.key_records import FIELDS, HOUR, ID, NAME, OTHER_ID, present, secret, tag


async def test_a_created_record_holds_exactly_what_was_given(keys: KeyStore, client: Redis) -> None:
    before = await keys.now()
    verdict, record = await keys.create(ID, secret(1), FIELDS)
    held = await client.hgetall(NAME)
    assert verdict == "made"
    assert record == await keys.get(ID)
    assert before <= int(held.pop("created_at")) <= await keys.now()
    assert held == {
        **FIELDS,
        "hash": "hash-1",
        "tag": "tag-1",
        "last4": "0001",
        "status": "active",
    }


async def test_create_never_overwrites_an_id(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    verdict, _ = await keys.create(ID, secret(2), {"consumer": "thief"})
    assert verdict == "taken"
    assert (await present(keys)).hash == "hash-1"
    assert (await present(keys)).consumer == "sales"


async def test_of_many_creators_of_one_id_exactly_one_makes_it(keys: KeyStore) -> None:
    answers = await asyncio.gather(*(keys.create(ID, secret(i), FIELDS) for i in range(30)))
    made = [record.hash for verdict, record in answers if verdict == "made"]
    assert made == [(await present(keys)).hash]


async def test_a_create_whose_answer_was_lost_may_be_sent_again(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    verdict, record = await keys.create(ID, secret(1), FIELDS)
    assert verdict == "made"
    assert record.hash == "hash-1"


async def test_a_rotate_sent_twice_keeps_the_old_secret_s_grace(keys: KeyStore) -> None:
    """Otherwise the new secret would push the old one out of its grace."""
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2), HOUR)
    verdict, record = await keys.rotate(ID, secret(2), HOUR)
    assert verdict == "made"
    assert (record.hash, record.previous_hash) == ("hash-2", "hash-1")


async def test_a_rotation_of_a_living_key_does_not_undo_a_revocation(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.set_status(ID, "revoked")
    before = await present(keys)
    assert await keys.rotate(ID, secret(2, "m"), HOUR, revive=False) == ("revoked", before)
    assert await present(keys) == before
    verdict, record = await keys.rotate(ID, secret(2, "m"), HOUR)
    assert (verdict, record.status) == ("made", "active")


async def test_rotation_keeps_the_old_secret_for_the_grace(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    verdict, record = await keys.rotate(ID, secret(2), HOUR)
    now = await keys.now()
    assert verdict == "made"
    assert (record.hash, record.tag, record.last4) == ("hash-2", "tag-2", "0002")
    assert (record.previous_hash, record.previous_tag) == ("hash-1", "tag-1")
    assert now + HOUR - 5 <= int(record.previous_expires_at) <= now + HOUR
    assert now - 5 <= int(record.rotated_at) <= now
    assert record.consumer == "sales"


async def test_a_second_rotation_drops_the_older_secret(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2), HOUR)
    _, record = await keys.rotate(ID, secret(3), HOUR)
    assert (record.hash, record.previous_hash) == ("hash-3", "hash-2")


async def test_without_grace_the_old_secret_ends_at_once(keys: KeyStore, client: Redis) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2), HOUR)
    await keys.rotate(ID, secret(3), 0)
    held = await client.hgetall(NAME)
    assert not [name for name in held if name.startswith("previous_")]
    assert "hash-1" not in held.values()
    assert "hash-2" not in held.values()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "revoked"},
        {"status": "disabled"},
        {"status": "whatever"},
        {"expires_at": "1"},
        {"expires_at": "soon"},
        {"expires_at": "9e99"},
        {"expires_at": " 99999999999"},
        {"expires_at": "9" * 13},
    ],
)
async def test_a_key_that_is_not_alive_has_no_grace(keys: KeyStore, fields: dict[str, str]) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.update(ID, fields)
    _, record = await keys.rotate(ID, secret(2), HOUR)
    assert record.previous_hash == record.previous_expires_at == ""


async def test_rotating_a_revoked_key_makes_it_active_and_a_disabled_one_stays_so(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.set_status(ID, "revoked")
    _, record = await keys.rotate(ID, secret(2), HOUR)
    assert record.status == "active"
    assert not await client.hexists(NAME, "revoked_at")
    await keys.set_status(ID, "disabled")
    _, record = await keys.rotate(ID, secret(3), HOUR)
    assert record.status == "disabled"


async def test_a_tag_is_written_only_beside_the_hash_it_is_of(keys: KeyStore) -> None:
    await keys.create(ID, NewSecret("hash-1", "", "0001"), FIELDS)
    assert not await keys.write_tag(ID, "hash-0", tag("aaaaaaaa"), ["aaaaaaaa"], False)
    assert await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa"], False)
    assert (await present(keys)).tag == tag("aaaaaaaa")


async def test_a_tag_of_an_unknown_pepper_is_never_overwritten(keys: KeyStore) -> None:
    await keys.create(ID, NewSecret("hash-1", tag("bbbbbbbb"), "0001"), FIELDS)
    assert not await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa"], False)
    assert await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa", "bbbbbbbb"], False)
    await keys.update(ID, {"tag": "nonsense"})
    assert await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa"], False)


async def test_a_tag_of_another_hash_is_none_whosever_pepper_it_is_of(keys: KeyStore) -> None:
    """As where somebody put a hash there by hand, or rotated without a pepper."""
    await keys.create(ID, NewSecret("hash-1", tag("bbbbbbbb", 7), "0001"), FIELDS)
    assert await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa"], False)
    assert (await present(keys)).tag == tag("aaaaaaaa")


async def test_the_previous_secret_s_tag_is_its_own(keys: KeyStore) -> None:
    await keys.create(ID, NewSecret("hash-1", "", "0001"), FIELDS)
    await keys.rotate(ID, secret(2), HOUR)
    assert not await keys.write_tag(ID, "hash-2", tag("aaaaaaaa"), ["aaaaaaaa"], True)
    assert await keys.write_tag(ID, "hash-1", tag("aaaaaaaa"), ["aaaaaaaa"], True)
    record = await present(keys)
    assert (record.previous_tag, record.tag) == (tag("aaaaaaaa"), "tag-2")


async def test_an_idempotency_marker_lives_ten_minutes_and_holds_no_secret(
    keys: KeyStore, client: Redis
) -> None:
    assert await keys.claim("digest", ID) == ID
    assert await keys.claim("digest", OTHER_ID) == ID
    await keys.create(ID, secret(1, "m"), FIELDS)
    names = await client.keys("gw:idem:*")
    assert len(names) == 2
    for name in names:
        assert IDEMPOTENCY_SECONDS - 5 <= await client.ttl(name) <= IDEMPOTENCY_SECONDS
        assert "hash-1" not in await client.get(name)


async def test_a_repeated_create_replaces_only_the_secret(keys: KeyStore) -> None:
    await keys.create(ID, secret(1, "m"), FIELDS)
    await keys.update(ID, {"label": "mine"})
    verdict, record = await keys.create(ID, secret(2, "m"), {**FIELDS, "label": "new"})
    assert verdict == "replaced"
    assert (record.hash, record.tag, record.label) == ("hash-2", "tag-2", "mine")
    assert record.previous_hash == ""


async def test_a_repeated_rotation_leaves_the_previous_secret_and_its_grace(
    keys: KeyStore,
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    _, first = await keys.rotate(ID, secret(2, "m"), HOUR)
    verdict, record = await keys.rotate(ID, secret(3, "m"), 5 * HOUR)
    assert verdict == "replaced"
    assert (record.hash, record.previous_hash) == ("hash-3", "hash-1")
    assert record.previous_expires_at == first.previous_expires_at


async def test_a_repeat_after_somebody_acted_on_the_key_is_refused(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1, "m"), FIELDS)
    assert (await keys.create(ID, secret(2, "m", "else"), FIELDS))[0] == "different"
    await keys.set_status(ID, "revoked")
    assert (await keys.create(ID, secret(2, "m"), FIELDS))[0] == "changed"
    await keys.rotate(ID, secret(3), 0)
    assert (await keys.create(ID, secret(4, "m"), FIELDS))[0] == "changed"
    await client.delete(NAME)
    assert (await keys.create(ID, secret(5, "m"), FIELDS))[0] == "gone"
    assert await keys.get(ID) is None


async def test_a_repeated_rotation_does_not_open_a_key_revoked_since(keys: KeyStore) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2, "m"), HOUR)
    await keys.set_status(ID, "revoked")
    verdict, record = await keys.rotate(ID, secret(3, "m"), HOUR)
    assert verdict == "changed"
    assert (record.status, record.hash) == ("revoked", "hash-2")


async def test_a_repeated_rotation_takes_no_secret_from_whoever_rotated_since(
    keys: KeyStore,
) -> None:
    """The new owner has it already, and would be shut out by an old request sent again."""
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2, "m"), HOUR)
    await keys.rotate(ID, secret(3), HOUR)
    verdict, record = await keys.rotate(ID, secret(4, "m"), HOUR)
    assert (verdict, record.hash, record.previous_hash) == ("changed", "hash-3", "hash-2")


async def test_a_rotation_is_repeated_as_often_as_answers_are_lost_but_no_longer(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1), FIELDS)
    await keys.rotate(ID, secret(2, "m"), HOUR)
    (marker,) = await client.keys("gw:idem:*")
    assert IDEMPOTENCY_SECONDS - 5 <= await client.ttl(marker) <= IDEMPOTENCY_SECONDS
    await client.expire(marker, 60)
    assert (await keys.rotate(ID, secret(9, "m", "else"), HOUR))[0] == "different"
    for number in (3, 4, 5):
        assert (await keys.rotate(ID, secret(number, "m"), HOUR))[0] == "replaced"
    assert (await present(keys)).hash == "hash-5"
    assert 0 < await client.ttl(marker) <= 60


async def test_a_creation_is_repeated_as_often_as_answers_are_lost_but_no_longer(
    keys: KeyStore, client: Redis
) -> None:
    await keys.create(ID, secret(1, "m"), FIELDS)
    (marker,) = await client.keys("gw:idem:*")
    await client.expire(marker, 60)
    for number in (2, 3, 4):
        assert (await keys.create(ID, secret(number, "m"), FIELDS))[0] == "replaced"
    assert (await present(keys)).hash == "hash-4"
    assert 0 < await client.ttl(marker) <= 60


async def test_a_secret_that_nobody_had_was_never_used(keys: KeyStore, client: Redis) -> None:
    used = f"gw:used:{{{ID}}}"
    await keys.create(ID, secret(1), FIELDS)
    await client.hset(used, "current", "100")
    await keys.rotate(ID, secret(2, "m"), HOUR)
    assert await client.hgetall(used) == {"previous": "100"}
    await client.hset(used, "current", "200")
    await keys.rotate(ID, secret(3, "m"), HOUR)
    assert await client.hgetall(used) == {"previous": "100"}


async def test_scripts_forgotten_by_redis_are_sent_again(keys: KeyStore, client: Redis) -> None:
    for number in range(5):
        await client.script_flush()
        await keys.create(f"{number:012d}", secret(number), FIELDS)
        await client.script_flush()
        assert await keys.set_status(f"{number:012d}", "revoked") == "done"


def test_a_secret_s_hash_and_tag_are_in_no_repr() -> None:
    assert repr(secret(1)) == "NewSecret(last4='0001')"
