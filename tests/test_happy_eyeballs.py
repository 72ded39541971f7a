"""Of several addresses the first that answers is taken, and no connection is left over."""

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import cast
from unittest.mock import patch

import pytest
import uvloop

from gateway.happy_eyeballs import connect_to_first

# Nobody in these tests is waited for so long.
LONG = 600.0
SHORT = 0.05


class Network:
    """Each address answers once its event is set; what begins with `refusing` refuses at once."""

    def __init__(self, *addresses: str) -> None:
        self.answers = {address: asyncio.Event() for address in addresses}
        self.tried: list[str] = []
        self.dropped: list[str] = []

    async def connect(self, address: str, _: int) -> "Connection":
        self.tried.append(address)
        if address.startswith("refusing"):
            raise ConnectionRefusedError(address)
        await self.answers[address].wait()
        return Connection(address, self)

    async def first(self, seconds: float = LONG) -> str:
        with patch("gateway.happy_eyeballs._connected", self.connect):
            found: object = await connect_to_first(list(self.answers), 80, seconds)
        return cast(Connection, found).address


@dataclass
class Connection:
    """What stands in for a socket."""

    address: str
    network: Network

    def close(self) -> None:
        self.network.dropped.append(self.address)


async def test_while_the_first_may_still_answer_no_other_is_asked() -> None:
    network = Network("a", "b")
    network.answers["a"].set()
    assert await network.first() == "a"
    assert network.tried == ["a"]


async def test_one_who_refuses_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.happy_eyeballs.HEAD_START", LONG)
    network = Network("refusing 1", "refusing 2", "a", "b")
    network.answers["a"].set()
    assert await network.first() == "a"
    assert network.tried == ["refusing 1", "refusing 2", "a"]


async def test_one_who_is_silent_may_still_be_the_first_to_answer() -> None:
    network = Network("slow", "silent")
    first = asyncio.create_task(network.first(SHORT))
    while len(network.tried) < 2:
        await asyncio.sleep(0.01)
    network.answers["slow"].set()
    assert await first == "slow"


async def test_who_answers_too_late_is_dropped() -> None:
    network = Network("a", "b")
    first = asyncio.create_task(network.first(SHORT))
    while len(network.tried) < 2:
        await asyncio.sleep(0.01)
    for answer in network.answers.values():
        answer.set()
    assert await first in network.answers
    await asyncio.sleep(0)
    assert sorted([first.result(), *network.dropped]) == ["a", "b"]


async def test_where_all_refuse_the_last_one_is_told() -> None:
    with pytest.raises(ConnectionRefusedError, match="2"):
        await Network("refusing 1", "refusing 2").first()


async def test_what_is_reached_can_be_written_to_without_delay(unused_tcp_port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(2))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Nobody listens at the first one.
    made = await connect_to_first(["127.0.0.2", "127.0.0.1"], port, LONG)
    reader, writer = await asyncio.open_connection(sock=made)
    own = writer.get_extra_info("socket")
    assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    writer.write(b"ok")
    assert await reader.read() == b"ok"
    writer.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await connect_to_first(["127.0.0.1"], unused_tcp_port, LONG)


async def test_who_does_not_wait_any_more_leaves_nobody_behind() -> None:
    network = Network("a", "b")
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT * 2):
            await network.first(SHORT)
    await asyncio.sleep(0)
    assert network.tried == ["a", "b"]
    assert asyncio.all_tasks() == before


def test_one_who_leaves_while_it_is_taken_over_closes_no_connection_of_others() -> None:
    """uvloop before 0.23 closed the socket and left its number with it, to be closed once more:
    by then it may be that of another call's connection."""

    async def leave(port: int) -> list[socket.socket]:
        loop = asyncio.get_running_loop()
        reached = await connect_to_first(["127.0.0.1"], port, LONG)
        taken = loop.create_task(loop.create_connection(asyncio.Protocol, sock=reached))
        await asyncio.sleep(0)
        taken.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taken
        await asyncio.sleep(SHORT)
        others = [socket.socket() for _ in range(8)]
        reached.close()
        return others

    with socket.create_server(("127.0.0.1", 0)) as server:
        others = uvloop.run(leave(server.getsockname()[1]))
    for one in others:
        os.fstat(one.fileno())
        one.close()
