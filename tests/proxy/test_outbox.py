"""What is written in one turn of the loop is sent at its end, whole and in order."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.proxy.outbox import MOST, Outbox


class Written(asyncio.WriteTransport):
    """A transport that notes what reaches it."""

    def __init__(self, log: list[bytes]) -> None:
        super().__init__()
        self._log = log
        self.closing = self.broken = self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.broken:
            raise OSError("broken")
        self._log.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    yield Outbox(asyncio.get_running_loop())


async def test_small_writes_of_several_connections_wait_for_the_end_of_the_turn(
    outbox: Outbox,
) -> None:
    log: list[bytes] = []
    one, other = Written(log), Written(log)
    for number in range(3):
        outbox.add(one, b"a%d" % number)
        outbox.add(other, b"b%d" % number)
    assert log == []
    await asyncio.sleep(0)
    assert log == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2"]


async def test_much_does_not_wait_and_overtakes_nothing(outbox: Outbox) -> None:
    log: list[bytes] = []
    one = Written(log)
    outbox.add(one, b"first")
    outbox.add(one, b"x" * MOST)
    assert [len(data) for data in log] == [5, MOST]


async def test_a_connection_that_ends_meanwhile_is_sent_nothing_and_holds_up_nobody(
    outbox: Outbox,
) -> None:
    log: list[bytes] = []
    gone, other = Written(log), Written(log)
    outbox.add(gone, b"lost")
    outbox.add(other, b"kept")
    gone.closing = True
    await asyncio.sleep(0)
    assert log == [b"kept"]


async def test_a_connection_that_cannot_be_written_to_is_reset_and_holds_up_nobody(
    outbox: Outbox,
) -> None:
    log: list[bytes] = []
    bad, other = Written(log), Written(log)
    bad.broken = True
    outbox.add(bad, b"lost")
    outbox.add(other, b"kept")
    await asyncio.sleep(0)
    assert log == [b"kept"]
    assert bad.aborted


async def test_what_waits_is_written_before_a_connection_is_closed(outbox: Outbox) -> None:
    log: list[bytes] = []
    one = Written(log)
    outbox.add(one, b"last")
    outbox.flush()
    assert log == [b"last"]
    await asyncio.sleep(0)
    assert log == [b"last"]
