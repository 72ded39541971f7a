"""What a name server told last holds while it is away, and no longer."""

import asyncio
import socket
from typing import Any

import pytest

from gateway.proxy.upstream import resolver
from gateway.proxy.upstream.resolver import Resolver
from tests.awake import awake

LONG = 600.0


class NameServer:
    """Tells `addresses`, or fails with `problem`; says nothing unless `answering`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(resolver, "PATIENCE", 0.05)
        monkeypatch.setattr(loop, "getaddrinfo", self._resolve)
        self.addresses = ["10.0.0.1"]
        self.problem = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.names = Resolver(loop)

    async def _resolve(self, host: str, port: int, **_: Any) -> list[Any]:
        await self.answering.wait()
        if self.problem:
            raise socket.gaierror(self.problem, "as the system says it")
        return [(0, 1, 6, "", (address, port)) for address in self.addresses]

    async def find(self, seconds: float = LONG) -> list[str]:
        return await self.names.resolve("name.test", seconds)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    return NameServer(monkeypatch)


async def test_a_name_that_moves_is_followed_at_once(server: NameServer) -> None:
    await server.find()
    server.addresses = ["10.0.0.2"]
    assert await server.find() == ["10.0.0.2"]


@pytest.mark.parametrize("problem", [socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_what_was_told_last_serves_while_name_servers_fail(
    server: NameServer, problem: int
) -> None:
    with pytest.raises(socket.gaierror):
        server.problem = problem
        await server.find()
    server.problem = 0
    await server.find()
    server.problem = problem
    assert await server.find() == ["10.0.0.1"]


async def test_what_was_told_last_serves_while_name_servers_are_silent(server: NameServer) -> None:
    await server.find()
    server.answering.clear()
    assert await server.find() == ["10.0.0.1"]


async def test_some_of_the_time_to_connect_is_left_where_it_is_short(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", LONG)
    await server.find()
    server.answering.clear()
    with awake() as passed:
        assert await server.find(0.2) == ["10.0.0.1"]
        assert passed() < 0.2


async def test_a_silent_name_server_is_waited_for_once_and_not_by_each(
    server: NameServer,
) -> None:
    await server.find()
    server.answering.clear()
    await server.find()
    begun = asyncio.get_running_loop().time()
    for _ in range(100):
        await server.find()
    assert asyncio.get_running_loop().time() - begun < 100 * resolver.PATIENCE / 2


async def test_a_name_that_is_gone_stands_for_nothing(server: NameServer) -> None:
    await server.find()
    server.problem = socket.EAI_NONAME
    with pytest.raises(socket.gaierror):
        await server.find()
    server.problem = socket.EAI_AGAIN
    with pytest.raises(socket.gaierror):
        await server.find()


async def test_nobody_is_believed_for_ever(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "BELIEVED_SECONDS", 0.0)
    await server.find()
    await asyncio.sleep(0.01)
    server.problem = socket.EAI_AGAIN
    with pytest.raises(socket.gaierror):
        await server.find()
