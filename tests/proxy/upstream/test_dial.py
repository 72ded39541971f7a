"""The address that was looked at is the one that is dialled."""

import asyncio
import socket
from collections.abc import Collection, Iterator
from itertools import cycle
from typing import Any

import pytest

from gateway.domain.errors import Code, Denied
from gateway.domain.policies.snapshot import Upstream
from gateway.happy_eyeballs import HEAD_START
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.dial import Dialer
from tests.stalling import stall

Resolver = Iterator[list[str]]


class Network:
    """Answers names as a test says, and notes who is dialled. `dead`: nobody answers there.
    `answering`: whether the name server does. `handshake`: seconds until a connection can be used
    that is there."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, answers: Resolver, dead: Collection[str] = ()
    ) -> None:
        self.dialled: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.lookups = 0
        self.handshake = 0.0
        self.answering = asyncio.Event()
        self.answering.set()
        self._dialer = Dialer(self.loop)
        self._answers, self._dead = answers, dead
        monkeypatch.setattr(self.loop, "getaddrinfo", self._resolve)
        monkeypatch.setattr(self.loop, "sock_connect", self._connect)
        monkeypatch.setattr(self.loop, "create_connection", self._make)

    async def _resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        self.lookups += 1
        await self.answering.wait()
        return [(0, 1, 6, "", (address, port)) for address in next(self._answers)]

    async def _connect(self, made: socket.socket, place: tuple[str, int]) -> None:
        self.dialled.append(place[0])
        if place[0] in self._dead:
            await asyncio.sleep(60)

    async def _make(self, make: Any, *, sock: socket.socket, **_: Any) -> Any:
        await asyncio.sleep(self.handshake)
        sock.close()
        return None, make()

    async def dial(self, *, seconds: float = 0.2, **fields: Any) -> UpstreamConnection:
        upstream = Upstream("http", "name.test", 80, **fields)

        def make() -> UpstreamConnection:
            return UpstreamConnection(self.loop, [], lambda connection: None, Outbox(self.loop))

        return await self._dialer.dial(upstream, seconds, make)


async def test_a_name_that_stands_for_metadata_is_not_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch, cycle([["169.254.169.254", "::ffff:169.254.169.254"]]))
    with pytest.raises(Denied) as denied:
        await network.dial()
    assert denied.value.code is Code.UPSTREAM_UNREACHABLE
    assert network.dialled == []


async def test_it_is_dialled_where_the_policy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, cycle([["169.254.169.254"]]))
    await network.dial(allow_link_local=True)
    assert network.dialled == ["169.254.169.254"]


async def test_a_name_that_answers_differently_each_time_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch, cycle([["10.0.0.1"], ["169.254.169.254"]]))
    for _ in range(5):
        await network.dial()
        with pytest.raises(Denied):
            await network.dial()
    assert set(network.dialled) == {"10.0.0.1"}


async def test_only_the_harmless_addresses_of_a_name_are_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch, cycle([["169.254.169.254", "10.0.0.1"]]))
    await network.dial()
    assert network.dialled == ["10.0.0.1"]


@pytest.mark.parametrize("dead", [1, 2, 5])
async def test_dead_addresses_leave_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, dead: int
) -> None:
    addresses = [f"10.0.0.{number}" for number in range(dead + 1)]
    network = Network(monkeypatch, cycle([addresses]), dead=addresses[:-1])
    await network.dial(seconds=1.0)
    assert network.dialled == addresses


async def test_a_handshake_that_takes_its_time_is_no_dead_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else far upstreams would see two for each connection."""
    network = Network(monkeypatch, cycle([["10.0.0.1", "10.0.0.2"]]))
    network.handshake = 2 * HEAD_START
    await network.dial(seconds=60.0)
    assert network.dialled == ["10.0.0.1"]


async def test_a_connection_that_was_made_while_this_process_stalled_is_made_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(monkeypatch, cycle([["10.0.0.1"]]))
    network.handshake = 0.1
    dialling = asyncio.create_task(network.dial(seconds=0.5))
    while not network.dialled:
        await asyncio.sleep(0)
    await stall(1.0)
    assert await dialling


async def test_what_is_meant_to_be_public_is_dialled_at_public_addresses_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"]
    disguised = ["::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1", "0.1.2.3", "224.0.0.1"]
    network = Network(monkeypatch, cycle([[*inside, *disguised, "93.184.216.34"], ["10.0.0.1"]]))
    await network.dial(public=True)
    with pytest.raises(Denied):
        await network.dial(public=True)
    assert network.dialled == ["93.184.216.34"]


@pytest.mark.parametrize("name", ["a..b", "x" * 64])
async def test_a_name_that_cannot_be_looked_up_is_one_that_cannot_be_reached(name: str) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(Denied) as denied:
        await Dialer(loop).dial(Upstream("http", name, 80), 5.0, lambda: pytest.fail("dialled"))
    assert denied.value.code is Code.UPSTREAM_UNREACHABLE


async def test_a_name_that_nobody_answers_is_looked_up_once_however_many_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The threads that look up names are few, and a lookup that began cannot be called back."""
    network = Network(monkeypatch, cycle([["10.0.0.1"]]))
    network.answering.clear()
    for _ in range(2):
        refused = await asyncio.gather(*[network.dial() for _ in range(5)], return_exceptions=True)
        assert {type(one) for one in refused} == {Denied}
    assert network.lookups == 1
    network.answering.set()
    for _ in range(2):
        await network.dial()
    assert network.lookups == 2, "what was found once is not believed the next time"
