"""A connection to an agent is given out again only while it can carry a request."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress

import pytest
from structlog.testing import capture_logs

from gateway.domain.errors import Denied
from gateway.domain.policies.snapshot import Upstream
from gateway.proxy.outbox import Outbox
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.pool import LIFE_SECONDS, UpstreamPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield Upstream("http", "127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()


@pytest.fixture
async def pool() -> AsyncIterator[UpstreamPool]:
    loop = asyncio.get_running_loop()
    made = UpstreamPool(loop, Outbox(loop))
    yield made
    made.close()
    await asyncio.sleep(0)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where nobody listens, and nobody will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def used(pool: UpstreamPool, upstream: Upstream) -> UpstreamConnection:
    """A connection that has carried an exchange, given back."""
    connection = pool.take(upstream, repeatable=True) or await pool.connect(upstream, 1.0)
    await given_back(pool, connection)
    return connection


async def given_back(pool: UpstreamPool, connection: UpstreamConnection) -> None:
    """Let it carry an exchange, then give it back."""
    arrived = connection.expect_answer(bodiless=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    _, payload = await arrived
    assert await payload.readany() == b"ok"
    pool.release(connection)


async def test_a_used_connection_is_given_out_again(pool: UpstreamPool, upstream: Upstream) -> None:
    first = await used(pool, upstream)
    assert pool.take(upstream, repeatable=False) is first
    assert first.reused


async def test_one_that_is_being_closed_is_not(pool: UpstreamPool, upstream: Upstream) -> None:
    """Between its end and the loop's telling so, a request written to it would be lost."""
    first = await used(pool, upstream)
    first.close()
    assert pool.take(upstream, repeatable=False) is None


async def test_so_many_are_kept_and_one_that_ends_makes_room(
    pool: UpstreamPool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.proxy.upstream.pool.MAX_IDLE", 2)
    made = [await pool.connect(upstream, 1.0) for _ in range(3)]
    for connection in made:
        await given_back(pool, connection)
    assert [connection.usable for connection in made] == [True, True, False]
    made[0].close()
    async with asyncio.timeout(5):
        while list(made[0].home) != [made[1]]:
            await asyncio.sleep(0.01)


async def test_those_that_were_made_at_once_do_not_all_end_at_once(
    pool: UpstreamPool, upstream: Upstream
) -> None:
    made = [await pool.connect(upstream, 1.0) for _ in range(20)]
    ends = [one.retires for one in made]
    assert max(ends) - min(ends) > LIFE_SECONDS / 10


async def test_what_must_not_be_sent_twice_takes_none_that_the_agent_may_be_about_to_close(
    pool: UpstreamPool, upstream: Upstream
) -> None:
    """Agents that keep idle connections for a second are the least patient that there are."""
    first = await used(pool, upstream)
    first.idle_since -= 0.9
    assert pool.take(upstream, repeatable=True) is first
    pool.release(first)
    first.idle_since -= 0.9
    assert pool.take(upstream, repeatable=False) is None


async def test_none_carries_requests_for_longer_than_a_minute(
    pool: UpstreamPool, upstream: Upstream
) -> None:
    """Else an agent that moved would be called where it was for as long as there is traffic."""
    loop = asyncio.get_running_loop()
    first = await used(pool, upstream)
    assert first.retires <= loop.time() + LIFE_SECONDS
    assert await used(pool, upstream) is first
    first.retires = loop.time()
    assert await used(pool, upstream) is first, "the exchange that runs is finished"
    assert await used(pool, upstream) is not first


async def test_one_that_waits_ends_with_its_minute(
    pool: UpstreamPool, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.proxy.upstream.pool.LIFE_SECONDS", 0.2)
    first = await used(pool, upstream)
    async with asyncio.timeout(5):
        while first.usable:
            await asyncio.sleep(0.01)
    assert pool.take(upstream, repeatable=True) is None


async def test_what_an_agent_says_unasked_ends_its_connection(
    pool: UpstreamPool, upstream: Upstream
) -> None:
    first = await used(pool, upstream)
    first.data_received(OK)
    assert pool.take(upstream, repeatable=True) is None


async def test_why_an_upstream_cannot_be_reached_is_said_and_not_again_for_each_call(
    pool: UpstreamPool, taken: int
) -> None:
    gone, nameless = Upstream("http", "127.0.0.1", taken), Upstream("http", "a..b", 80)
    with capture_logs() as logs:
        for upstream in (gone, gone, nameless, gone):
            with pytest.raises(Denied):
                await pool.connect(upstream, 1.0)
    assert [entry["upstream"] for entry in logs] == [f"http://127.0.0.1:{taken}", "http://a..b"]
    assert logs[0]["reason"] == "Connection refused"
