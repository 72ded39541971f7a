"""What is large is read while others have their turn, and only so much of it is held."""

import asyncio
import threading
import weakref
from collections.abc import Iterator

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.models.request import read_prompt
from gateway.proxy.large_bodies import FREE, LARGE, BodyMemory, LargeBodies


@pytest.fixture
def large() -> Iterator[LargeBodies]:
    made = LargeBodies(100)
    yield made
    made.close()


async def test_others_have_their_turn_while_a_large_body_is_read(large: LargeBodies) -> None:
    turn = threading.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    # Where it were read on the loop, nobody would end its wait.
    assert await large.run("a", LARGE, turn.wait, 20)


async def test_a_small_one_is_read_at_once(large: LargeBodies) -> None:
    thread = await large.run("a", LARGE - 1, threading.current_thread)
    assert thread is threading.main_thread()


async def test_one_that_has_much_to_read_keeps_others_waiting_for_one_of_it(
    large: LargeBodies,
) -> None:
    done: list[str] = []
    begun, more = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        more.wait(20)

    flood = [asyncio.create_task(large.run("a", LARGE, first))]
    flood += [asyncio.create_task(large.run("a", LARGE, done.append, "a")) for _ in range(9)]
    async with asyncio.timeout(20):
        while not begun.is_set():
            await asyncio.sleep(0.01)
        other = asyncio.create_task(large.run("b", LARGE, done.append, "b"))
        await asyncio.sleep(0.05)
        more.set()
        await other
        assert done.count("a") <= 1
        await asyncio.gather(*flood)


async def test_what_its_caller_left_is_not_read_and_not_kept(large: LargeBodies) -> None:
    class Body(bytearray):
        """Something that a weak reference can be to."""

    begun, more = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        more.wait(20)

    async with asyncio.timeout(20):
        reads = asyncio.create_task(large.run("a", LARGE, slow))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        bodies = [Body(b"x") for _ in range(9)]
        kept = [weakref.ref(body) for body in bodies]
        waiting = [
            asyncio.create_task(large.run(f"{number % 3}", LARGE, body.clear))
            for number, body in enumerate(bodies)
        ]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(bodies), "none was read"
        del bodies, waiting, task
        assert not [one for one in kept if one() is not None]
        reads.cancel()
        await asyncio.sleep(0.05)
        assert not reads.done(), "what a thread has in hand is held"
        more.set()
        await asyncio.wait([reads])
        assert reads.cancelled()
        assert await large.run("a", LARGE, len, b"xx") == 2


@pytest.mark.parametrize("size", [0, LARGE])
async def test_what_is_refused_is_refused_of_any_size(large: LargeBodies, size: int) -> None:
    with pytest.raises(Denied) as denied:
        await large.run("a", size, read_prompt, b"{" + bytes(size))
    assert denied.value.code is Code.BAD_REQUEST


def memory(large: LargeBodies, key_id: str) -> BodyMemory:
    """One whose free part is taken."""
    made = large.memory_of(key_id)
    made.take(FREE)
    return made


def test_all_keys_together_have_so_much_room_and_each_has_half(large: LargeBodies) -> None:
    first, more, other, late = (memory(large, key) for key in ("a", "a", "b", "c"))
    first.take(30)
    more.take(20)
    with pytest.raises(Denied) as denied:
        more.take(1)
    assert denied.value.code is Code.BUSY and denied.value.retry_after == 1
    other.take(50)
    with pytest.raises(Denied):
        late.take(1)
    first.end()
    first.end()
    late.take(30)
    for one in (more, other, late):
        one.end()
    # All of it is there again.
    first.take(FREE + 50)
    other.take(FREE + 50)


def test_what_is_small_has_room_where_others_hold_all_of_it(large: LargeBodies) -> None:
    for key in ("a", "b"):
        memory(large, key).take(50)
    small = large.memory_of("a")
    small.take(FREE)
    with pytest.raises(Denied):
        small.take(1)
    small.end()


def test_what_never_has_room_is_not_to_come_again(large: LargeBodies) -> None:
    full = memory(large, "a")
    full.take(50)
    for never in (full, large.memory_of("b")):
        with pytest.raises(Denied) as denied:
            never.take(FREE + 51)
        assert denied.value.code is Code.BODY_TOO_LARGE and denied.value.retry_after == 0
        assert denied.value.close
