"""Issuing: the plaintext is handed out once and is nowhere else."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from redis.asyncio import Redis

from gateway.crypto.argon2 import verify
from gateway.crypto.draw import draw
from gateway.crypto.tags import Peppers, TagVerdict
from gateway.domain.errors import OperationError, UsageError
from gateway.domain.keys import key as key_grammar
from gateway.domain.keys.fields import KeyFields
from gateway.domain.keys.record import KeyRecord
from gateway.services.keys.bulk import rotations
from gateway.services.keys.issue import Issued, Issuer
from gateway.store.keys import KeyStore

PEPPERS = Peppers((bytes(range(32)),))
SALES = KeyFields(consumer="sales", scopes=("agents/support:chat",))
HOUR = 3600


@pytest.fixture
def issuer(keys: KeyStore) -> Issuer:
    return Issuer(keys, PEPPERS, draw)


async def everything(client: Redis) -> str:
    """All that Redis holds, names and values, and its serialised form."""
    raw: Redis = Redis(connection_pool=client.connection_pool)
    seen = []
    for name in await raw.keys("*"):
        kind = await raw.type(name)
        seen += [name, str(await raw.hgetall(name)) if kind == "hash" else str(await raw.get(name))]
    return "\n".join(seen)


def secret_of(issued: Issued) -> str:
    return issued.key.text[22:54]


async def create(issuer: Issuer, idempotency_key: str = "", fields: KeyFields = SALES) -> Issued:
    return await issuer.create(fields, "live", "ann", idempotency_key)


async def test_a_new_key_opens_its_record_by_tag_and_by_hash(
    issuer: Issuer, keys: KeyStore
) -> None:
    issued = await create(issuer)
    record = await keys.get(issued.key.id)
    assert record == issued.record
    assert key_grammar.parse(issued.key.text) == issued.key
    assert verify(record.hash, issued.key.text)
    assert PEPPERS.verdict(record.tag, issued.key.text, record.hash) is TagVerdict.MATCH
    assert (record.consumer, record.scopes) == ("sales", "agents/support:chat")
    assert (record.status, record.env, record.created_by) == ("active", "live", "ann")
    assert record.last4 == issued.key.text[-4:]


async def test_every_field_is_there_even_when_empty(issuer: Issuer, client: Redis) -> None:
    """So that HSET by hand prints 0 for a key that exists."""
    issued = await create(issuer)
    held = await client.hgetall(f"gw:key:{{{issued.key.id}}}")
    assert {"label", "plan", "limits", "users", "expires_at", "status", "scopes"} <= set(held)


async def test_no_secret_is_in_redis_or_in_a_repr(issuer: Issuer, client: Redis) -> None:
    made = [await create(issuer, "retry-1"), await create(issuer, "retry-1")]
    made.append(await issuer.rotate(made[0].key.id, HOUR, "retry-2"))
    held = await everything(client)
    for issued in made:
        assert secret_of(issued) not in held
        assert issued.key.text[-10:] not in held
        assert secret_of(issued) not in repr(issued)
        assert issued.record.hash not in repr(issued)
    assert "retry-1" not in held


async def test_without_a_pepper_the_tag_is_empty(keys: KeyStore) -> None:
    issued = await create(Issuer(keys, Peppers(), draw))
    assert issued.record.tag == ""


async def test_an_id_that_is_taken_is_drawn_anew(keys: KeyStore) -> None:
    first = await create(Issuer(keys, PEPPERS, drawing("a" * 12, "s" * 32)))
    second = await create(Issuer(keys, PEPPERS, drawing("a" * 12, "t" * 32, "b" * 12, "u" * 32)))
    assert (first.key.id, second.key.id) == ("a" * 12, "b" * 12)
    assert verify(first.record.hash, first.key.text)


async def test_when_no_free_id_is_found_nothing_is_overwritten(keys: KeyStore) -> None:
    stuck = Issuer(keys, PEPPERS, lambda length: "a" * length)
    first = await create(stuck)
    with pytest.raises(OperationError, match="No free key id"):
        await create(stuck)
    assert await keys.get(first.key.id) == first.record


def drawing(*texts: str) -> Callable[[int], str]:
    turn = count()
    return lambda _: texts[next(turn)]


@pytest.mark.parametrize(
    "fields",
    [
        KeyFields(consumer="sales"),
        KeyFields(consumer="sales", scopes=()),
        KeyFields(scopes=("agents/*",)),
        KeyFields(consumer="sales", scopes=("nonsense",)),
    ],
)
async def test_a_key_without_consumer_or_scope_is_not_made(
    issuer: Issuer, client: Redis, fields: KeyFields
) -> None:
    with pytest.raises(UsageError):
        await create(issuer, fields=fields)
    assert await client.keys("*") == []


async def test_a_repeat_replaces_the_lost_secret_of_the_same_key(issuer: Issuer) -> None:
    first = await create(issuer, "K")
    again = await create(issuer, "K")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.key.id == first.key.id
    assert again.key.text != first.key.text
    assert verify(again.record.hash, again.key.text)
    assert not verify(again.record.hash, first.key.text)
    assert again.record.previous_hash == ""


async def test_repeats_at_once_make_one_key(issuer: Issuer, keys: KeyStore) -> None:
    issued = await asyncio.gather(*(create(issuer, "K") for _ in range(5)))
    assert len({one.key.id for one in issued}) == 1
    assert len(await keys.ids()) == 1
    record = await keys.get(issued[0].key.id)
    assert record is not None
    assert sum(verify(record.hash, one.key.text) for one in issued) == 1


async def test_another_request_under_the_same_idempotency_key_is_refused(
    issuer: Issuer, keys: KeyStore
) -> None:
    first = await create(issuer, "K")
    with pytest.raises(OperationError, match="different request"):
        await create(issuer, "K", KeyFields(consumer="hr", scopes=("agents/*",)))
    with pytest.raises(OperationError, match="different request"):
        await issuer.create(SALES, "test", "ann", "K")
    assert await keys.get(first.key.id) == first.record


async def test_a_repeat_never_revives_a_deleted_or_revoked_key(
    issuer: Issuer, keys: KeyStore
) -> None:
    first = await create(issuer, "K")
    await keys.set_status(first.key.id, "revoked")
    with pytest.raises(OperationError, match="was changed"):
        await create(issuer, "K")
    await keys.delete(first.key.id)
    with pytest.raises(OperationError, match="was deleted"):
        await create(issuer, "K")
    assert await keys.ids() == []


async def test_a_repeat_gives_no_secret_of_a_key_that_may_do_something_else_by_now(
    issuer: Issuer, keys: KeyStore
) -> None:
    """Whoever may ask for a key with those scopes need not have a right to these."""
    first = await create(issuer, "K")
    await keys.update(first.key.id, {"scopes": "gateway/admin"})
    with pytest.raises(OperationError, match="was changed"):
        await create(issuer, "K")
    record = await keys.get(first.key.id)
    assert record is not None and record.hash == first.record.hash


async def test_a_repeat_may_end_at_another_second_and_be_nothing_else(issuer: Issuer) -> None:
    """`30d` is another second each time."""
    first = await create(issuer, "K", replace(SALES, expires_at=2**33))
    again = await create(issuer, "K", replace(SALES, expires_at=2**33 + 1))
    assert (again.repeated, again.record.expires_at) == (True, first.record.expires_at)
    with pytest.raises(OperationError, match="different request"):
        await create(issuer, "K", replace(SALES, label="x"))


async def test_a_decoy_is_made_as_one(issuer: Issuer) -> None:
    made = await issuer.create(SALES, "live", "ann", canary=True)
    assert made.record.status == "canary"


async def test_a_decoy_that_was_lost_is_made_again(issuer: Issuer) -> None:
    first = await issuer.create(SALES, "live", "ann", "K", canary=True)
    again = await issuer.create(SALES, "live", "ann", "K", canary=True)
    assert again.repeated and again.key.id == first.key.id
    assert again.record.status == "canary"


async def test_a_whole_key_is_no_idempotency_key(issuer: Issuer) -> None:
    issued = await create(issuer)
    with pytest.raises(UsageError) as refused:
        await create(issuer, issued.key.text)
    assert secret_of(issued) not in str(refused.value)


async def test_a_rotation_keeps_the_id_and_both_secrets_for_the_grace(issuer: Issuer) -> None:
    first = await create(issuer)
    second = await issuer.rotate(first.key.id, HOUR)
    assert second.key.id == first.key.id
    assert verify(second.record.hash, second.key.text)
    assert verify(second.record.previous_hash, first.key.text)
    tag, phc = second.record.previous_tag, second.record.previous_hash
    assert PEPPERS.verdict(tag, first.key.text, phc) is TagVerdict.MATCH


async def test_a_repeated_rotation_leaves_the_grace_of_the_old_secret(issuer: Issuer) -> None:
    first = await create(issuer)
    lost = await issuer.rotate(first.key.id, HOUR, "K")
    again = await issuer.rotate(first.key.id, HOUR, "K")
    assert again.repeated
    assert verify(again.record.previous_hash, first.key.text)
    assert again.record.previous_expires_at == lost.record.previous_expires_at
    assert not verify(again.record.hash, lost.key.text)


async def test_a_key_that_is_revoked_while_its_new_secret_is_made_stays_revoked(
    keys: KeyStore,
) -> None:
    """Whoever revoked it last saw a key that is closed for good."""
    found = asyncio.Event()

    class Watched(KeyStore):
        async def get(self, key_id: str) -> KeyRecord | None:
            record = await super().get(key_id)
            found.set()
            return record

    issuer = Issuer(Watched(keys._client, "gw:"), PEPPERS, draw)
    first = await create(issuer)
    rotating = asyncio.create_task(issuer.rotate(first.key.id, HOUR))
    await found.wait()
    await keys.set_status(first.key.id, "revoked")
    with pytest.raises(OperationError, match="is revoked: 'gateway keys rotate"):
        await rotating
    record = await keys.get(first.key.id)
    assert (record.status, record.hash) == ("revoked", first.record.hash)
    assert (await issuer.rotate(first.key.id, 0)).revived


async def test_a_rotation_of_a_whole_department_revives_no_key_that_is_revoked_before_its_turn(
    issuer: Issuer, keys: KeyStore
) -> None:
    ids = [(await create(issuer)).key.id for _ in range(2)]
    rotated = rotations(issuer, ids, HOUR, "", revive=False)
    assert isinstance((await anext(rotated))[1], Issued)
    await keys.set_status(ids[1], "revoked")
    assert isinstance((await anext(rotated))[1], OperationError)
    assert (await keys.get(ids[1])).status == "revoked"


async def test_a_fraction_of_a_second_of_grace_is_not_rounded_away(issuer: Issuer) -> None:
    first = await create(issuer)
    assert (await issuer.rotate(first.key.id, 0.5)).record.previous_hash


async def test_a_test_key_stays_a_test_key(issuer: Issuer) -> None:
    first = await issuer.create(SALES, "test", "ann")
    second = await issuer.rotate(first.key.id, 0)
    assert first.key.text.startswith("agk_test_")
    assert second.key.text.startswith("agk_test_")


async def test_what_cannot_be_rotated_says_why(issuer: Issuer, client: Redis) -> None:
    with pytest.raises(OperationError, match="no key 4xT9mQ2LrB7c"):
        await issuer.rotate("4xT9mQ2LrB7c", 0)
    await client.hset("gw:key:{4xT9mQ2LrB7c}", "status", "active")
    with pytest.raises(OperationError, match="no hash"):
        await issuer.rotate("4xT9mQ2LrB7c", 0)
    with pytest.raises(UsageError, match="365d"):
        await issuer.rotate("4xT9mQ2LrB7c", 366 * 86400)
