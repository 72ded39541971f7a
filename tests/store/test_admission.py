"""One round trip: compare what is cached, check all limits, charge them all."""

import asyncio
import time
from dataclasses import replace
from unittest.mock import ANY

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.limits import Concurrency, Quota, Rate, Tokens, Window
from gateway.domain.keys.record import KeyRecord
from gateway.domain.settings import StoreSettings
from gateway.store.admission import (
    CHARGE_NOTHING,
    COMPARED,
    LEASE_SECONDS,
    Admission,
    Charged,
    CounterError,
    Exceeded,
    Lease,
    Stale,
    with_lease,
)

ID = "abcdefghijkl"
RECORD = KeyRecord(ID, hash="$argon2id$x", status="active", consumer="sales", scopes="agents/*")
RATE = NamedLimit("rate", "rate", Rate(1, 3600), burst=2)
DAY = NamedLimit("day", "day", Quota(100, Window.DAY))
TOKENS = NamedLimit("tokens-day", "tokens:day", Tokens(10, Window.DAY))


@pytest.fixture
async def record(client: Redis, store: StoreSettings) -> str:
    name = f"{store.prefix}key:{{{ID}}}"
    await client.hset(
        name,
        mapping={
            "hash": RECORD.hash,
            "status": "active",
            "consumer": "sales",
            "scopes": "agents/*",
            "tag": "t",
        },
    )
    return name


async def charge(
    admission: Admission, *limits: NamedLimit, until: int = 0, touch: str = ""
) -> Charged | Exceeded | Stale:
    command = admission.pack_charge(RECORD, limits, valid_until=until, touch=touch)
    return await admission.run(ID, command)


async def test_a_record_that_is_not_there_reads_as_an_empty_one(admission: Admission) -> None:
    read = await admission.run(ID, admission.pack_read(ID))
    assert isinstance(read, Stale)
    assert read.record == KeyRecord(ID)
    assert read.now > 1.7e9


async def test_a_read_tells_all_that_a_secret_is_proven_with_and_judged_by(
    admission: Admission, client: Redis, store: StoreSettings
) -> None:
    whole = {name: f"the {name}" for name in (*COMPARED, "tag", "previous_tag")}
    await client.hset(f"{store.prefix}key:{{{ID}}}", mapping=whole)
    read = await admission.run(ID, admission.pack_read(ID))
    assert isinstance(read, Stale)
    assert read.record == KeyRecord(ID, **whole)


async def test_a_record_of_another_type_reads_as_an_empty_one(
    admission: Admission, client: Redis, store: StoreSettings
) -> None:
    await client.set(f"{store.prefix}key:{{{ID}}}", "a string")
    read = await admission.run(ID, admission.pack_read(ID))
    assert isinstance(read, Stale)
    assert read.record == KeyRecord(ID)


async def test_bytes_that_are_no_text_survive_the_round_trip(
    admission: Admission, client: Redis, record: str
) -> None:
    await client.hset(record, "consumer", b"\xff\xfe")
    read = await admission.run(ID, admission.pack_read(ID))
    assert isinstance(read, Stale)
    again = admission.pack_charge(read.record, (), valid_until=0)
    assert isinstance(await admission.run(ID, again), Charged)


async def test_a_belief_that_holds_is_charged(
    admission: Admission, client: Redis, record: str
) -> None:
    first = await charge(admission, RATE, DAY)
    assert isinstance(first, Charged)
    assert first.states[:3] == (1, 3600, 99)
    assert abs(first.states[3] - (86400 - time.time() % 86400)) < 5
    second = await charge(admission, RATE, DAY)
    assert isinstance(second, Charged)
    full_at = int((await client.get(f"gw:rate:{{{ID}}}:rate") or "").split()[0])
    seconds, micros = await client.time()
    assert full_at / 1e6 - (seconds + micros / 1e6) <= second.states[1] <= 7200, "rounded up"
    third = await charge(admission, RATE, DAY)
    assert isinstance(third, Exceeded)
    assert (third.position, third.states[0], third.states[2]) == (1, 0, 98)
    assert 3590 <= third.retry_after <= 3600


@pytest.mark.parametrize(
    "change",
    [
        {"hash": "other"},
        {"status": "revoked"},
        {"status": "disabled"},
        {"consumer": "support"},
        {"scopes": "agents/faq"},
        {"plan": "standard"},
        {"limits": "rate=1/s"},
        {"users": "u1"},
        {"expires_at": "1"},
        {"previous_hash": "p"},
        {"previous_expires_at": "9"},
    ],
)
async def test_any_change_of_the_record_makes_the_belief_stale_and_charges_nothing(
    admission: Admission, client: Redis, record: str, change: dict[str, str]
) -> None:
    await client.hset(record, mapping=change)
    answer = await charge(admission, RATE, DAY)
    assert isinstance(answer, Stale)
    ((name, value),) = change.items()
    assert getattr(answer.record, name) == value
    assert await client.keys("*rate*") == []


async def test_a_deleted_record_makes_the_belief_stale(
    admission: Admission, client: Redis, record: str
) -> None:
    await client.delete(record)
    assert isinstance(await charge(admission, RATE), Stale)


@pytest.mark.parametrize("status", ["revoked", "disabled", "", "Active", "active "])
async def test_no_belief_lets_a_key_in_that_does_not_live(
    admission: Admission, client: Redis, record: str, status: str
) -> None:
    await client.hset(record, "status", status)
    cached = replace(RECORD, status=status)
    command = admission.pack_charge(cached, (DAY,), valid_until=0)
    assert isinstance(await admission.run(ID, command), Stale)


async def test_a_secret_is_dead_from_the_second_it_ends(
    admission: Admission, client: Redis, record: str
) -> None:
    now, _ = await client.time()
    assert isinstance(await charge(admission, until=1), Stale)
    assert isinstance(await charge(admission, until=now), Stale)
    assert isinstance(await charge(admission, until=now + 60), Charged)
    assert isinstance(await charge(admission, until=4_000_000_000), Charged)


async def test_every_counter_has_an_end_from_the_step_that_makes_it(
    admission: Admission, client: Redis, record: str
) -> None:
    quotas = [NamedLimit(w.label, w.label, Quota(9, w)) for w in Window]
    await charge(admission, RATE, *quotas, touch="current")
    names = [name for name in await client.keys("*") if name != record]
    assert len(names) == 7
    for name in names:
        assert await client.pttl(name) > 0, name


async def test_the_counter_of_a_rate_is_kept_until_all_of_it_is_free_again(
    admission: Admission, client: Redis, record: str
) -> None:
    """One that ended sooner would give back what was used."""
    for _ in range(2):
        assert isinstance(await charge(admission, RATE), Charged)
    name = f"gw:rate:{{{ID}}}:rate"
    full_at = int((await client.get(name) or "").split()[0])
    assert full_at // 1000 < await client.pexpiretime(name) <= full_at // 1000 + 2000


async def test_a_clock_that_was_set_back_holds_nobody_up_for_longer_than_a_full_bucket(
    admission: Admission, client: Redis, record: str
) -> None:
    """Or one that was ahead for a while, or of a master that another one has followed."""
    often = NamedLimit("rate", "rate", Rate(5, 1), burst=5)
    assert isinstance(await charge(admission, often), Charged)
    name = f"gw:rate:{{{ID}}}:rate"
    full_at, interval = (await client.get(name) or "").split()
    hours = 3 * 3600 * 1_000_000
    await client.set(name, f"{int(full_at) + hours} {interval}", px=hours // 1000)
    refused = await charge(admission, often)
    assert isinstance(refused, Exceeded)
    async with asyncio.timeout(10):
        while isinstance(await charge(admission, often), Exceeded):
            await asyncio.sleep(0.05)
    # It was full, and no more than that is forgotten.
    answers = [await charge(admission, often) for _ in range(5)]
    assert sum(isinstance(answer, Charged) for answer in answers) < 5
    assert await client.pttl(name) <= 3000


async def test_the_limit_that_takes_longest_to_pass_is_named_wherever_it_stands(
    admission: Admission, record: str
) -> None:
    day = NamedLimit("day", "day", Quota(1, Window.DAY))
    spent = day, NamedLimit("rate", "rate", Rate(1, 2 * 86400), burst=1)
    assert isinstance(await charge(admission, *spent), Charged)
    for limits, position in ((spent, 2), (spent[::-1], 1)):
        refused = await charge(admission, *limits)
        assert isinstance(refused, Exceeded)
        assert refused.position == position


async def test_what_is_only_asked_is_charged_nowhere_and_leaves_nothing(
    admission: Admission, client: Redis, record: str
) -> None:
    limits = (RATE, DAY, NamedLimit("concurrency", "", Concurrency(1)))
    for kept in limits, ():
        command = admission.pack_charge(RECORD, kept, valid_until=0, touch=CHARGE_NOTHING)
        for _ in range(3):
            asked = await admission.run(ID, with_lease(command, "asked") if kept else command)
            assert isinstance(asked, Charged)
    assert await client.keys("*") == [record]
    for _ in range(2):
        await charge(admission, RATE)
    command = admission.pack_charge(RECORD, (RATE,), valid_until=0, touch=CHARGE_NOTHING)
    assert isinstance(await admission.run(ID, command), Exceeded)


async def test_who_only_asks_is_told_how_many_tokens_are_left_and_callers_are_not(
    admission: Admission, record: str
) -> None:
    await admission.count_tokens(ID, (TOKENS,), 4, "request")
    command = admission.pack_charge(RECORD, (DAY, TOKENS), valid_until=0, touch=CHARGE_NOTHING)
    asked = await admission.run(ID, command)
    assert isinstance(asked, Charged)
    assert (len(asked.states), asked.states[2]) == (4, 6)
    await admission.count_tokens(ID, (TOKENS,), 9, "another")
    refused = await admission.run(ID, command)
    assert isinstance(refused, Exceeded)
    assert (len(refused.states), refused.states[2]) == (4, 0)
    for limits in ((DAY, TOKENS), (DAY,)):
        told = await charge(admission, *limits)
        assert isinstance(told, Charged | Exceeded)
        assert len(told.states) == 2


async def test_last_use_is_written_at_most_once_a_minute(
    admission: Admission, client: Redis, store: StoreSettings, record: str
) -> None:
    used = f"{store.prefix}used:{{{ID}}}"
    await charge(admission)
    assert not await client.exists(used)
    await charge(admission, touch="current")
    first = await client.hget(used, "current")
    assert first is not None
    await client.hset(used, "current", str(int(first) - 30))
    await charge(admission, touch="current")
    assert await client.hget(used, "current") == str(int(first) - 30)
    await client.hset(used, "current", str(int(first) - 61))
    await charge(admission, touch="current")
    assert int(await client.hget(used, "current") or 0) >= int(first)


async def test_a_flushed_script_is_sent_again_unseen(
    admission: Admission, client: Redis, record: str
) -> None:
    for _ in range(5):
        await client.script_flush()
        assert isinstance(await charge(admission, DAY), Charged)
    assert await client.get(f"gw:quota:{{{ID}}}:day") == "5"


async def test_a_counter_of_another_type_admits_nothing(
    admission: Admission, client: Redis, store: StoreSettings, record: str
) -> None:
    await client.hset(f"{store.prefix}quota:{{{ID}}}:day", "a", "b")
    with pytest.raises(CounterError, match=f"{{{ID}}}.*: delete it"):
        await charge(admission, DAY)


@pytest.mark.parametrize(
    "junk", ["", "many", "-5", "1e3", "nan", "0x7", "1 2 3", "1 0", "1 .", "1.5", "\udcff"]
)
@pytest.mark.parametrize("limit", [RATE, DAY], ids=["rate", "quota"])
async def test_a_counter_that_holds_no_number_admits_nothing_and_charges_nothing(
    admission: Admission,
    client: Redis,
    store: StoreSettings,
    record: str,
    junk: str,
    limit: NamedLimit,
) -> None:
    other = DAY if limit is RATE else RATE
    assert isinstance(await charge(admission, RATE, DAY), Charged)
    kind = "rate:{%s}:rate" if limit is RATE else "quota:{%s}:day"
    bytes_ = junk.encode("utf-8", "surrogateescape")
    name = store.prefix + kind % ID
    await client.set(name, bytes_, keepttl=True)
    with pytest.raises(CounterError) as raised:
        await charge(admission, RATE, DAY)
    assert str(raised.value) == f"{name} makes no sense: delete it."
    answer = await charge(admission, other)
    assert isinstance(answer, Charged)
    assert answer.states[0] == (0 if other is RATE else 98), "one call before and this one"


async def test_a_counter_set_anew_by_hand_begins_a_new_count(
    admission: Admission, client: Redis, store: StoreSettings, record: str
) -> None:
    name = f"{store.prefix}quota:{{{ID}}}:day"
    await charge(admission, DAY)
    await client.set(name, "0")
    answer = await charge(admission, DAY)
    assert isinstance(answer, Charged)
    assert answer.states[0] == 99
    assert await client.ttl(name) > 0


async def test_a_counter_whose_end_was_taken_away_goes_on_counting_to_the_end_of_its_window(
    admission: Admission, client: Redis, store: StoreSettings, record: str
) -> None:
    """By PERSIST, or a copy that left it out: begun anew it would let in twice what the limit
    allows, kept for ever it would ban for ever."""
    name = f"{store.prefix}quota:{{{ID}}}:day"
    for _ in range(100):
        assert isinstance(await charge(admission, DAY), Charged)
    assert await client.persist(name)
    assert isinstance(await charge(admission, DAY), Exceeded)
    assert 0 < await client.ttl(name) <= 86_401


@pytest.mark.parametrize("shift", [-300, -1, 1, 300])
@pytest.mark.parametrize("window", [Window.MINUTE, Window.DAY, Window.MONTH])
async def test_a_counter_that_moved_to_another_node_goes_on_counting(
    admission: Admission,
    client: Redis,
    store: StoreSettings,
    record: str,
    window: Window,
    shift: int,
) -> None:
    """MIGRATE takes along how long it has to live, so that its end is off by what the way took."""
    limit = NamedLimit("quota", "quota", Quota(100, window))
    name = f"{store.prefix}quota:{{{ID}}}:quota"
    await charge(admission, limit)
    ends = int(await client.pexpiretime(name))
    await client.pexpireat(name, ends + shift)
    answer = await charge(admission, limit)
    assert isinstance(answer, Charged)
    # The minute may have ended between the two.
    assert answer.states[0] == 98 or int(await client.pexpiretime(name)) > ends + 1000


async def test_a_counter_of_another_window_counts_for_nothing(
    admission: Admission, client: Redis, store: StoreSettings, record: str
) -> None:
    name = f"{store.prefix}quota:{{{ID}}}:day"
    await charge(admission, DAY)
    await client.pexpireat(name, int(await client.pexpiretime(name)) + 86_400_000)
    answer = await charge(admission, DAY)
    assert isinstance(answer, Charged)
    assert answer.states[0] == 99


@pytest.mark.parametrize(
    "limits", [(), (TOKENS,), (replace(TOKENS, enforced=False),)], ids=["none", "tokens", "tried"]
)
async def test_a_replica_is_noticed_even_where_there_is_nothing_to_charge(
    admission: Admission, client: Redis, record: str, limits: tuple[NamedLimit, ...]
) -> None:
    await client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreError):
            await charge(admission, *limits, touch="current")
    finally:
        await client.replicaof("NO", "ONE")


@pytest.mark.parametrize("limits", [(), (DAY,)], ids=["unlimited", "limited"])
async def test_a_master_that_may_have_been_replaced_decides_on_nobody(
    admission: Admission, client: Redis, record: str, limits: tuple[NamedLimit, ...]
) -> None:
    """Told to take no writes without a replica, it is cut off from whoever revokes."""
    await client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreError, match="NOREPLICAS"):
            await charge(admission, *limits, touch="current")
    finally:
        await client.config_set("min-replicas-to-write", 0)


async def test_calls_of_one_turn_share_a_write_and_keep_their_order(
    admission: Admission, record: str
) -> None:
    answers = await asyncio.gather(*(charge(admission, DAY) for _ in range(50)))
    left = [answer.states[0] for answer in answers if isinstance(answer, Charged)]
    assert left == list(range(99, 49, -1))


TRIED_RATE = replace(RATE, enforced=False)
TRIED_LEASE = NamedLimit("concurrency", "", Concurrency(1), enforced=False)


async def held(admission: Admission, lease: str, *limits: NamedLimit) -> Charged | Exceeded | Stale:
    """A call that takes a place."""
    command = admission.pack_charge(RECORD, limits, valid_until=0)
    return await admission.run(ID, with_lease(command, lease))


async def test_a_place_is_taken_while_its_gateway_answers_for_it_and_not_longer(
    admission: Admission, client: Redis, record: str
) -> None:
    lease, places = NamedLimit("concurrency", "", Concurrency(1)), f"gw:lease:{{{ID}}}"
    assert isinstance(await held(admission, "one", lease), Charged)
    seconds, micros = await client.time()
    now, until = seconds * 1000 + micros // 1000, int(await client.zscore(places, "one") or 0)
    assert now < until <= now + LEASE_SECONDS * 1000 + 1
    assert until < await client.pexpiretime(places)
    assert isinstance(await held(admission, "two", lease), Exceeded)
    await client.zadd(places, {"one": now + 1000})
    assert isinstance(await held(admission, "two", lease), Exceeded)
    await client.zadd(places, {"one": now - 1})
    assert isinstance(await held(admission, "two", lease), Charged)
    assert await client.zrange(places, 0, -1) == ["two"]


async def test_a_place_lasts_by_renewal_and_one_that_ran_out_is_not_brought_back(
    admission: Admission, client: Redis, record: str
) -> None:
    """Somebody else may have been admitted in its place."""
    places = f"gw:lease:{{{ID}}}"

    async def renewed(until: int | None) -> int:
        await client.delete(places)
        await client.zadd(places, {"another": now + 1000})
        if until is not None:
            await client.zadd(places, {"one": until})
        await client.pexpire(places, 2000)
        admission.renew(Lease("one", (places,)))
        await admission.run(ID, admission.pack_read(ID))
        return int(await client.zscore(places, "one") or 0)

    seconds, micros = await client.time()
    now = seconds * 1000 + micros // 1000
    until = await renewed(now + 60_000)
    assert now + LEASE_SECONDS * 1000 <= until < await client.pexpiretime(places)
    assert await renewed(now - 1) == now - 1
    assert await renewed(None) == 0


async def test_a_limit_that_is_tried_out_is_named_when_it_is_exceeded_and_lets_in(
    admission: Admission, record: str
) -> None:
    answers = [await charge(admission, TRIED_RATE, DAY) for _ in range(4)]
    assert [a.exceeded for a in answers if isinstance(a, Charged)] == [0, 0, 1, 1]
    # The one that binds is charged each time, and the only one of which callers hear.
    assert [a.states[0] for a in answers if isinstance(a, Charged)] == [99, 98, 97, 96]
    assert all(len(a.states) == 2 for a in answers if isinstance(a, Charged))


async def test_of_limits_that_are_tried_out_none_is_charged_where_one_is_exceeded(
    admission: Admission, record: str, client: Redis
) -> None:
    """As if the request had been refused."""
    for _ in range(4):
        await charge(admission, replace(DAY, enforced=False), TRIED_RATE)
    assert await client.get(f"gw:quota:{{{ID}}}:day") == "2"


async def test_a_limit_that_binds_refuses_whatever_is_tried_out_beside_it(
    admission: Admission, record: str, client: Redis, store: StoreSettings
) -> None:
    few = replace(DAY, limit=Quota(1, Window.DAY))
    many = replace(TRIED_RATE, burst=10)
    assert await charge(admission, many, few) == Charged((0, ANY), 0)
    refused = await charge(admission, many, few)
    assert isinstance(refused, Exceeded)
    assert refused.position == 2
    rate = f"{store.prefix}rate:{{{ID}}}:rate"
    before = await client.get(rate)
    await charge(admission, many, few)
    assert await client.get(rate) == before


async def test_places_that_are_tried_out_are_taken_while_there_are_any_and_no_more(
    admission: Admission, record: str, client: Redis, store: StoreSettings
) -> None:
    answers = [await held(admission, f"lease-{n}", TRIED_LEASE) for n in range(3)]
    assert [a.exceeded for a in answers if isinstance(a, Charged)] == [0, 1, 1]
    assert await client.zcard(f"{store.prefix}lease:{{{ID}}}") == 1
    bound = replace(TRIED_LEASE, counter="agent:a", enforced=True)
    assert await held(admission, "lease-9", bound, TRIED_LEASE) == Charged((), 2)
    assert isinstance(await held(admission, "lease-10", bound, TRIED_LEASE), Exceeded)


async def test_what_is_tried_out_is_still_asked_of_a_master_alone(
    admission: Admission, record: str, client: Redis
) -> None:
    """A replica may be behind: where nothing is charged, it must refuse all the same."""
    spent = replace(TRIED_RATE, limit=Rate(1, 86400), burst=1)
    await charge(admission, spent)
    assert await charge(admission, spent) == Charged((), 1)
    await client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreError):
            await charge(admission, spent)
    finally:
        await client.replicaof("NO", "ONE")


async def test_tokens_are_charged_to_every_counter_or_to_none_and_once(
    admission: Admission, client: Redis
) -> None:
    limits = tuple(
        NamedLimit(name, name, Tokens(100, window))
        for name, window in (("hour", Window.HOUR), ("day", Window.DAY))
    )
    hour, day = (f"gw:quota:{{{ID}}}:{one.counter}" for one in limits)
    await client.set(day, "no number")
    await client.pexpireat(day, (int(time.time()) // 86400 + 1) * 86_400_000 + 1000)
    with pytest.raises(StoreError, match="makes no sense"):
        await admission.count_tokens(ID, limits, 7, "request")
    assert await client.get(hour) is None
    await client.delete(day)
    for _ in range(2):
        await admission.count_tokens(ID, limits, 7, "request")
    assert await client.mget(hour, day) == ["7", "7"]


async def test_a_call_is_let_in_while_fewer_tokens_were_used_than_the_limit(
    admission: Admission, record: str
) -> None:
    await admission.count_tokens(ID, (TOKENS,), 9, "one")
    assert await charge(admission, DAY, TOKENS) == Charged((99, ANY))
    await admission.count_tokens(ID, (TOKENS,), 1, "two")
    refused = await charge(admission, DAY, TOKENS)
    assert isinstance(refused, Exceeded)
    assert refused.position == 2
    assert refused.states[0] == 99
    assert abs(refused.retry_after - (86400 - time.time() % 86400)) < 5
