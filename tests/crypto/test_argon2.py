"""Argon2 costs what was planned: bounded by the stored string, by threads, and by a queue."""

import asyncio
import time

import pytest
from argon2.exceptions import VerificationError
from argon2.low_level import error_to_str
from hypothesis import given
from hypothesis import strategies as st

from gateway.crypto import argon2
from gateway.crypto.argon2 import Argon2Pool, hash_key, verify
from gateway.domain.errors import Code, Denied
from gateway.domain.keys.phc import acceptable

KEY = "agk_live_4xT9mQ2LrB7c_0123456789ABCDEFGHIJabcdefghijKLxxxxxx"
PHC = hash_key(KEY)
# As argon2.h counts its errors.
ARGON2_MEMORY_ALLOCATION_ERROR = -22
SALT, DIGEST = "Xf7iTNzdsOMZY/K0LOIVbg", "FqFu2T8tEUkXAPcXJhiuak36KOgN6fIpWsk/XmeUgcY"


def phc(kind: str = "argon2id", v: str = "v=19", cost: str = "m=19456,t=2,p=1") -> str:
    return f"${kind}${v}${cost}${SALT}${DIGEST}"


def test_a_hash_is_argon2id_with_the_stated_cost_and_its_own_salt() -> None:
    assert PHC.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_key(KEY) != PHC
    assert verify(PHC, KEY)
    assert not verify(PHC, KEY + "x")
    assert not verify(PHC, PHC)


@pytest.mark.parametrize(
    "poisoned",
    [
        phc(cost="m=4194304,t=2,p=1"),
        phc(cost="m=65537,t=2,p=1"),
        phc(cost="m=99999999999,t=2,p=1"),
        phc(cost="m=19456,t=5,p=1"),
        phc(cost="m=19456,t=1000000,p=1"),
        phc(cost="m=19456,t=2,p=5"),
        phc(cost="m=19456,t=2,p=64"),
        phc(cost="m=7,t=1,p=1"),
        phc(cost="m=31,t=1,p=4"),
        phc(cost="m=019456,t=2,p=1"),
        phc(cost="m=-1,t=2,p=1"),
        phc(cost="m=19456,t=0,p=1"),
        phc(cost="t=2,m=19456,p=1"),
        phc(cost="m=19456,t=2,p=1,keyid=x"),
        phc(kind="argon2i"),
        phc(kind="argon2d"),
        phc(v="v=16"),
        phc() + "\n",
        phc() + "$x",
        phc()[1:],
        phc(cost="m=\N{FULLWIDTH DIGIT ONE}9456,t=2,p=1"),
        f"$argon2id$v=19$m=19456,t=2,p=1${SALT}$AAAA",
        f"$argon2id$v=19$m=19456,t=2,p=1$AAAA${DIGEST}",
        f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 100_000}${DIGEST}",
        f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${'A' * 100_000}",
        "",
        "x" * 1_000_000,
        "$2b$12$abcdefghijklmnopqrstuv",
    ],
)
def test_a_stored_string_that_asks_for_more_is_refused_unread(poisoned: str) -> None:
    """`m=4194304` computed would take 13 s and 4 GiB. The best of three, as others run beside."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        assert not acceptable(poisoned)
        assert not verify(poisoned, KEY)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.005


@pytest.mark.parametrize("cost", ["m=65536,t=4,p=4", "m=32,t=1,p=4", "m=8,t=1,p=1"])
def test_what_costs_just_as_much_as_is_allowed_is_computed(cost: str) -> None:
    assert acceptable(phc(cost=cost))


@given(st.text())
def test_no_stored_string_makes_verifying_fail(text: str) -> None:
    assert verify(text, KEY) is False


def test_a_string_of_the_right_shape_that_is_not_base64_is_refused() -> None:
    assert not verify(f"$argon2id$v=19$m=8,t=1,p=1${SALT}${'/' * 43}", KEY)


async def test_the_pool_tells_right_from_wrong() -> None:
    pool = Argon2Pool()
    assert await pool.verify(KEY, PHC)
    assert not await pool.verify(KEY + "x", PHC)
    assert not await pool.verify(KEY, phc(cost="m=4194304,t=2,p=1"))
    pool.close()


def test_too_little_memory_to_tell_is_not_taken_for_a_wrong_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> bool:
        raise VerificationError(error_to_str(ARGON2_MEMORY_ALLOCATION_ERROR))

    monkeypatch.setattr(argon2, "verify_secret", fail)
    with pytest.raises(MemoryError):
        verify(PHC, KEY)


async def test_beyond_the_queue_the_answer_is_busy_at_once() -> None:
    pool = Argon2Pool(workers=1, queue=2)
    asked = [asyncio.ensure_future(pool.verify(f"{KEY}{i}", PHC)) for i in range(10)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Denied)]
    assert len(refused) == 7
    assert {denied.code for denied in refused} == {Code.BUSY}
    assert {denied.retry_after for denied in refused} == {1}
    assert answers.count(False) == 3
    assert await pool.verify(KEY, PHC), "and the pool goes on afterwards"
    pool.close()


async def test_one_question_asked_by_many_is_computed_once() -> None:
    """With room for one computation, a second one would be refused."""
    pool = Argon2Pool(workers=1, queue=0)
    assert await asyncio.gather(*(pool.verify(KEY, PHC) for _ in range(20))) == [True] * 20
    pool.close()


async def test_who_asks_while_the_others_are_being_told_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the end of the computation and the turn in which the first asker learns of it."""
    runs = []

    def counted(stored: str, text: str) -> bool:
        runs.append(text)
        return verify(stored, text)

    monkeypatch.setattr(argon2, "verify", counted)
    pool = Argon2Pool(workers=1, queue=5)
    first = asyncio.ensure_future(pool.verify(KEY, PHC))
    later = []
    while not first.done():
        later.append(asyncio.ensure_future(pool.verify(KEY, PHC)))
        await asyncio.sleep(0)
    assert await asyncio.gather(first, *later) == [True] * (len(later) + 1)
    assert runs == [KEY]
    pool.close()


async def test_each_computation_is_timed_its_wait_included() -> None:
    took: list[float] = []
    pool = Argon2Pool(workers=1, queue=5, on_end=took.append)
    questions = [asyncio.create_task(pool.verify(f"{KEY}{number}", PHC)) for number in range(3)]
    while pool.under_way < 3:
        await asyncio.sleep(0)
    await asyncio.gather(*questions)
    assert len(took) == 3
    assert took == sorted(took) and took[2] > 1.5 * took[0], "the third waited for the others"
    assert pool.under_way == 0
    pool.close()


async def test_one_question_after_the_other_needs_no_queue() -> None:
    pool = Argon2Pool(workers=1, queue=0)
    for i in range(3):
        assert not await pool.verify(f"{KEY}{i}", PHC)
    pool.close()


async def test_a_verdict_is_kept_no_longer_than_for_those_who_wait() -> None:
    """Kept, it would be the verdict on a question that was never computed again."""
    begun: list[None] = []
    pool = Argon2Pool(workers=1, queue=0, on_run=lambda: begun.append(None))
    for asked in (1, 2, 3):
        assert await pool.verify(KEY, PHC)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(begun) == asked
    pool.close()


async def test_a_caller_that_goes_away_leaves_the_answer_to_the_others() -> None:
    pool = Argon2Pool(workers=1, queue=0)
    first = asyncio.ensure_future(pool.verify(KEY, PHC))
    second = asyncio.ensure_future(pool.verify(KEY, PHC))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is True
    assert first.cancelled()
    pool.close()


async def test_a_closed_pool_answers_busy_to_those_who_wait_and_those_who_come() -> None:
    pool = Argon2Pool(workers=1, queue=5)
    asked = [asyncio.ensure_future(pool.verify(f"{KEY}{i}", PHC)) for i in range(5)]
    await asyncio.sleep(0)
    pool.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(answer is False or isinstance(answer, Denied) for answer in answers)
    assert any(isinstance(answer, Denied) for answer in answers)
    with pytest.raises(Denied):
        await pool.verify(KEY, PHC)


async def test_the_event_loop_goes_on_while_argon2_runs() -> None:
    pool = Argon2Pool(workers=2, queue=32)
    asked = asyncio.gather(*(pool.verify(f"{KEY}{i}", PHC) for i in range(10)))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    pool.close()
