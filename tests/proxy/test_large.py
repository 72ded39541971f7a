"""What is large is read while others have their turn, and only so much of it is held."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.models.request import read_prompt
from gateway.proxy.large import FREE, LARGE, Holding, Large


@pytest.fixture
def large() -> Iterator[Large]:
    made = Large(100)
    yield made
    made.close()


async def test_others_have_their_turn_while_a_large_body_is_read(large: Large) -> None:
    turn = threading.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    # Where it were read on the loop, nobody would end its wait.
    assert await large.do(LARGE, turn.wait, 20)


async def test_a_small_one_is_read_at_once(large: Large) -> None:
    thread = await large.do(LARGE - 1, threading.current_thread)
    assert thread is threading.main_thread()


@pytest.mark.parametrize("size", [0, LARGE])
async def test_what_is_refused_is_refused_of_any_size(large: Large, size: int) -> None:
    with pytest.raises(Denied) as denied:
        await large.do(size, read_prompt, b"{" + bytes(size))
    assert denied.value.code is Code.BAD_REQUEST


def holding(large: Large, key_id: str) -> Holding:
    """One whose free part is taken."""
    made = large.holding(key_id)
    made.take(FREE)
    return made


def test_all_keys_together_have_so_much_room_and_each_has_half(large: Large) -> None:
    first, more, other, late = (holding(large, key) for key in ("a", "a", "b", "c"))
    first.take(30)
    more.take(20)
    for full, size in ((more, 1), (other, 51)):
        with pytest.raises(Denied) as denied:
            full.take(size)
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


def test_what_is_small_has_room_where_others_hold_all_of_it(large: Large) -> None:
    for key in ("a", "b"):
        holding(large, key).take(50)
    small = large.holding("a")
    small.take(FREE)
    with pytest.raises(Denied):
        small.take(1)
    small.end()
