"""What is large is read while others have their turn, and what comes of it is the same."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.models.request import read_prompt
from gateway.proxy.aside import LARGE, Aside


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.close()


async def test_others_have_their_turn_while_a_large_body_is_read(aside: Aside) -> None:
    turn = threading.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    # Where it were read on the loop, nobody would end its wait.
    assert await aside.do(LARGE, turn.wait, 20)


async def test_a_small_one_is_read_at_once(aside: Aside) -> None:
    thread = await aside.do(LARGE - 1, threading.current_thread)
    assert thread is threading.main_thread()


@pytest.mark.parametrize("size", [0, LARGE])
async def test_what_is_refused_is_refused_of_any_size(aside: Aside, size: int) -> None:
    with pytest.raises(Denied) as denied:
        await aside.do(size, read_prompt, b"{" + bytes(size))
    assert denied.value.code is Code.BAD_REQUEST
