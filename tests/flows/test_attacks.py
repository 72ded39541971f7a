"""What somebody without a key can buy with wrong ones: nothing of the owner's, and little CPU."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from time import perf_counter

import pytest
from redis.asyncio import Redis

from gateway.crypto import argon2
from gateway.domain.errors import Code
from gateway.domain.keys.key import Key, compose
from gateway.domain.keys.limits import Limits, Quota, Window
from gateway.domain.policies.plans import Plan
from gateway.domain.settings import StoreSettings
from tests.flows.refusals import check
from tests.flows.world import Answer, World, new_world
from tests.flows.wrong_keys import unknown, wrong

THREADS, QUEUE = 2, 32


@dataclass
class Runs:
    """How often argon2 really ran, and how often at once."""

    total: int = 0
    most_at_once: int = 0
    active: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    counted, real = Runs(), argon2.verify

    def verify(phc: str, text: str) -> bool:
        with counted.lock:
            counted.total += 1
            counted.active += 1
            counted.most_at_once = max(counted.most_at_once, counted.active)
        try:
            return real(phc, text)
        finally:
            with counted.lock:
                counted.active -= 1

    monkeypatch.setattr(argon2, "verify", verify)
    return counted


@pytest.fixture
async def bare(store: StoreSettings, client: Redis, runs: Runs) -> AsyncIterator[World]:
    """A gateway without a pepper: only argon2 can tell a right secret from a wrong one."""
    async with new_world(store, client, peppers=()) as world:
        yield world


@pytest.fixture
async def peppered(store: StoreSettings, client: Redis, runs: Runs) -> AsyncIterator[World]:
    async with new_world(store, client) as world:
        yield world


def limited(world: World) -> None:
    plans = {"daily": Plan("daily", Limits(quotas=(Quota(1000, Window.DAY),)))}
    world.serve(world.agent(), plans=plans)


async def kept(client: Redis) -> int:
    """How many names Redis keeps, but for those whose number says nothing of what was tried."""
    others = ("gw:audit", "gw:usage", "gw:worker")
    return len([name for name in await client.keys() if not name.startswith(others)])


async def codes(answers: Sequence[Awaitable[Answer]]) -> Counter[str]:
    return Counter(answer.code for answer in await asyncio.gather(*answers))


@asynccontextmanager
async def innocent(world: World, key: Key) -> AsyncIterator[list[float]]:
    """Somebody who calls on with a warm key; how long each of the calls took."""
    assert (await world.call(key)).status == 200
    times: list[float] = []
    ended = asyncio.Event()

    async def call_on() -> None:
        while not ended.is_set():
            start = perf_counter()
            assert (await world.call(key)).status == 200
            times.append(perf_counter() - start)

    calling = asyncio.create_task(call_on())
    try:
        yield times
    finally:
        ended.set()
        await calling


async def test_a_flood_of_wrong_secrets_is_bounded_and_holds_no_innocent_caller_up(
    bare: World, client: Redis, runs: Runs
) -> None:
    limited(bare)
    victim, bystander = await bare.issue(plan="daily"), await bare.issue()
    async with innocent(bare, bystander) as times:
        before = runs.total
        answered = await codes([bare.call(wrong(victim)) for _ in range(300)])
    assert set(answered) == {"key_invalid", "busy"}
    # Until the tenth failure is counted, what leaves the queue makes room for one more.
    assert runs.total - before <= THREADS + QUEUE + 10
    assert runs.most_at_once <= THREADS
    assert len(times) > 10
    assert sorted(times)[len(times) // 2] < 0.5
    assert await client.keys("gw:quota:*") == [], "a wrong secret never spends the owner's quota"


async def test_the_throttle_answers_busy_only_where_argon2_would_have_to_run(
    bare: World, runs: Runs
) -> None:
    victim, cold = await bare.issue(), await bare.issue()
    assert (await bare.call(victim)).status == 200
    before = runs.total
    answers = [await bare.call(wrong(victim)) for _ in range(16)]
    answered = [answer.code for answer in answers]
    assert answered[:10] == ["key_invalid"] * 10
    assert "busy" in answered
    assert runs.total - before == answered.count("key_invalid")
    busy = answers[answered.index("busy")]
    assert busy.headers["Retry-After"] == "1"
    check(busy, Code.BUSY)
    assert (await bare.call(victim)).status == 200, "its proof has matched"
    assert (await bare.call(unknown())).code == "key_invalid", "there is nothing to compute"
    assert (await bare.call(cold)).status == 200, "another key, and the address is not used up"


@pytest.mark.denial("busy")
async def test_an_address_that_fails_too_often_has_to_wait_and_others_need_not(
    bare: World,
) -> None:
    bare.serve(bare.agent(), trusted_proxies=(ip_network("127.0.0.0/8"),))
    owner, *victims = [await bare.issue() for _ in range(13)]

    def from_(address: str, key: Key | str) -> Awaitable[Answer]:
        return bare.call(key, headers={"X-Forwarded-For": address})

    start = perf_counter()
    answers = [await from_("192.0.2.1", wrong(victim)) for _ in range(5) for victim in victims]
    tries = Counter(answer.code for answer in answers)
    assert set(tries) == {"key_invalid", "busy"}
    assert 30 <= tries["key_invalid"] <= 31 + (perf_counter() - start) / 2
    check(next(answer for answer in answers if answer.code == "busy"), Code.BUSY)
    assert (await from_("192.0.2.2", owner)).status == 200
    assert (await from_("192.0.2.1", owner)).status == 200, "now its proof is known"


async def test_the_same_wrong_key_again_is_refused_from_memory(bare: World, runs: Runs) -> None:
    victim = await bare.issue()
    guess = wrong(victim)
    answers = [await bare.call(guess) for _ in range(50)]
    assert {answer.code for answer in answers} == {"key_invalid"}
    assert runs.total == 1


async def test_a_cold_key_asked_for_by_many_at_once_is_computed_once(
    bare: World, runs: Runs
) -> None:
    key = await bare.issue()
    answers = await asyncio.gather(*(bare.call(key) for _ in range(40)))
    assert {answer.status for answer in answers} == {200}
    assert runs.total == 1


async def test_many_cold_keys_at_once_wait_in_a_bounded_queue_and_get_in_later(
    bare: World, runs: Runs
) -> None:
    keys = [await bare.issue() for _ in range(THREADS + QUEUE + 20)]
    answers = await asyncio.gather(*(bare.call(key) for key in keys))
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            check(answer, Code.BUSY)
    assert runs.most_at_once <= THREADS
    refused = [key for key, answer in zip(keys, answers, strict=True) if answer.status == 503]
    for key in refused:
        assert (await bare.call(key)).status == 200


async def test_with_a_pepper_no_flood_costs_argon2_or_gets_another_answer(
    peppered: World, client: Redis, runs: Runs
) -> None:
    limited(peppered)
    victim, bystander = await peppered.issue(plan="daily"), await peppered.issue()
    async with innocent(peppered, bystander) as times:
        before = await kept(client)
        for _ in range(10):
            guesses = [wrong(victim) for _ in range(50)] + [unknown() for _ in range(50)]
            answered = await codes([peppered.call(guess) for guess in guesses])
            assert set(answered) == {"key_invalid"}
        assert await kept(client) == before, "nothing that Redis keeps grows with what is tried"
    assert runs.total == 0
    assert sorted(times)[len(times) // 2] < 0.5
    assert await client.keys("gw:quota:*") == []
    assert (await peppered.call(victim)).status == 200, "cold, and still nobody is in its way"


async def test_a_key_without_a_tag_is_computed_once_in_all_processes_together(
    store: StoreSettings, client: Redis, runs: Runs
) -> None:
    async with new_world(store, client, gateways=2) as world:
        key = await world.issue()
        await client.hdel(world.record(key), "tag")
        assert (await world.call(key, gateway=0)).status == 200
        async with asyncio.timeout(5):
            while not await client.hget(world.record(key), "tag"):
                await asyncio.sleep(0.01)
        assert (await world.call(key, gateway=1)).status == 200
        assert runs.total == 1
        check(await world.call(wrong(key), gateway=1), Code.KEY_INVALID)
        assert runs.total == 1


async def test_a_tag_made_for_another_hash_counts_for_nothing(
    peppered: World, client: Redis, runs: Runs
) -> None:
    """Whoever can write to Redis can copy a tag, but not make one."""
    mine, victim = await peppered.issue(), await peppered.issue()
    tag = await client.hget(peppered.record(mine), "tag")
    assert tag
    await client.hset(peppered.record(victim), "tag", tag)
    forged = compose("live", victim.id, mine.text[22:54])
    check(await peppered.call(forged.text), Code.KEY_INVALID)
    assert (await peppered.call(victim)).status == 200
    assert runs.total == 2
