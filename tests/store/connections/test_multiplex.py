"""One connection for all: nothing hangs, nothing is sent twice, everything heals by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Connection, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.connections import line as one_line
from gateway.store.connections import multiplex
from gateway.store.connections.connect import connection_factory
from gateway.store.connections.line import ReplyError, pack, take_over
from gateway.store.connections.multiplex import Multiplexer
from tests.stalling import stall
from tests.store.connections.relayed import (
    SECONDS,
    answered,
    connect_to,
    relayed,
    relayed_line,
    within,
)
from tests.store.connections.relayed import line as line


async def test_replies_come_back_to_who_asked(line: Multiplexer) -> None:
    calls = [line.call(pack("ECHO", f"n{i}")) for i in range(200)]
    assert await asyncio.gather(*calls) == [f"n{i}".encode() for i in range(200)]


async def test_an_error_reply_is_an_error_with_its_kind(line: Multiplexer) -> None:
    with pytest.raises(ReplyError) as refused:
        await line.call(pack("NOSUCHCOMMAND"))
    assert refused.value.kind == "ERR"
    assert await line.call(pack("PING")) == b"PONG"


async def test_what_was_refused_is_asked_for_again_only_where_nothing_can_have_run(
    line: Multiplexer,
) -> None:
    count = pack("INCR", "repeated")
    for kind in ("OOM", "ERR", "READONLY"):
        refused = ReplyError(f"{kind} it was")
        with pytest.raises(ReplyError, match=kind):
            await line.repeat(refused, count, "")
    assert await line.repeat(ReplyError("NOSCRIPT it is not known"), count, "") == 1


async def test_a_caller_that_left_does_not_shift_the_replies(line: Multiplexer) -> None:
    await line.call(pack("PING"))
    left = line.call(pack("ECHO", "left"))
    stayed = line.call(pack("ECHO", "stayed"))
    left.cancel()
    assert await stayed == b"stayed"


async def test_with_no_server_a_call_ends_in_time(tmp_path: Path) -> None:
    line = Multiplexer(connect_to(tmp_path / "nothing"), timeout=SECONDS)
    with within(SECONDS * 3), pytest.raises(StoreError):
        await line.call(pack("PING"))
    await line.close()


async def test_a_call_made_before_the_connection_waits_for_it(
    store: StoreSettings, tmp_path: Path
) -> None:
    line = Multiplexer(connect_to(tmp_path / "r"), timeout=5.0)
    call = line.call(pack("PING"))
    async with relayed(store, tmp_path):
        assert await call == b"PONG"
        await line.close()


async def test_so_many_wait_for_a_connection_and_the_next_one_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiplex, "MAX_WAITING", 2)
    line = Multiplexer(connect_to(tmp_path / "nothing"), timeout=5.0)
    calls = [line.call(pack("PING")) for _ in range(3)]
    assert [call.done() for call in calls] == [False, False, True]
    await line.close()
    for call in calls:
        with pytest.raises(StoreError):
            await call


async def test_so_many_wait_for_an_answer_and_the_next_one_is_refused_at_once(
    store: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_line, "MAX_WAITING", 2)
    async with relayed_line(store, tmp_path) as (relay, _, line):
        relay.muted = True
        calls = [line.call(pack("PING")) for _ in range(3)]
        assert [call.done() for call in calls] == [False, False, True]
        relay.cut()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, StoreError) for end in ended)


async def test_a_server_that_stops_answering_costs_the_timeout_and_no_more(
    store: StoreSettings, tmp_path: Path
) -> None:
    async with relayed_line(store, tmp_path, SECONDS) as (relay, _, line):
        relay.muted = True
        with within(SECONDS * 3):
            calls = [line.call(pack("PING")) for _ in range(100)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, StoreError) for end in ended)
        relay.muted = False
        await answered(line)


async def test_a_lost_connection_ends_what_was_sent_and_repeats_nothing(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    """Of each call that was written it is unknown whether it ran: none may run twice."""
    async with relayed_line(store, tmp_path) as (relay, _, line):
        calls = 0
        for _ in range(20):
            relay.muted = True
            pending = [line.call(pack("INCR", "n")) for _ in range(5)]
            calls += 5
            await relay.seen(calls)
            relay.cut()
            ended = await asyncio.gather(*pending, return_exceptions=True)
            assert all(isinstance(end, StoreError) for end in ended)
            relay.muted = False
            await answered(line)
        assert relay.requests == calls
        assert int(await client.get("n") or 0) <= calls


async def test_a_new_connection_is_prepared_before_it_is_used(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    async with relayed_line(store, tmp_path, prepare=(pack("INCR", "prepared"),)) as (
        relay,
        _,
        line,
    ):
        relay.cut()
        await answered(line)
        assert await client.get("prepared") == "2"


async def test_closing_ends_every_call(store: StoreSettings) -> None:
    line = Multiplexer(connection_factory(store), timeout=5.0)
    call = line.call(pack("PING"))
    await line.close()
    with pytest.raises(StoreError):
        await call
    with pytest.raises(StoreError):
        await line.call(pack("PING"))


async def test_waiting_for_a_connection_and_for_the_answer_share_one_timeout(
    store: StoreSettings, tmp_path: Path
) -> None:
    prepare = (pack("PING"),)
    line = Multiplexer(connect_to(tmp_path / "r"), timeout=1.0, prepare=prepare)
    with within(1.4), pytest.raises(StoreError):
        call = line.call(pack("INCR", "n"))
        await asyncio.sleep(0.5)
        async with relayed(store, tmp_path) as (relay, _):
            relay.mutes_at = b"INCR"
            await call
    assert relay.requests == 1, "it was sent, and only once"
    await line.close()


async def test_a_server_that_has_become_a_replica_is_left_for_whoever_is_there_now(
    line: Multiplexer, client: Redis
) -> None:
    """Behind a name that moves, the old connection would refuse for ever."""
    first = await line.call(pack("CLIENT", "ID"))
    await client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(ReplyError) as refused:
            await line.call(pack("INCR", "n"))
        assert refused.value.kind == "READONLY"
    finally:
        await client.replicaof("NO", "ONE")
    await answered(line)
    assert await line.call(pack("CLIENT", "ID")) != first


@pytest.mark.parametrize("turns", range(40))
async def test_closing_ends_at_whatever_moment_of_connecting_it_comes(
    store: StoreSettings, turns: int
) -> None:
    line = Multiplexer(connection_factory(store), timeout=5.0)
    for _ in range(turns):
        await asyncio.sleep(0)
    with within(2):
        await line.close()
    assert line._line is None


async def test_no_error_of_connecting_is_the_end_of_it(store: StoreSettings) -> None:
    """redis-py has let through what an event loop, a resolver or OpenSSL raised."""
    errors = [RuntimeError("closed"), ValueError("odd"), UnicodeError("label too long")]
    made = connection_factory(store)

    def connect() -> Connection:
        if errors:
            raise errors.pop()
        return made()

    line = Multiplexer(connect, timeout=2.0)
    with capture_logs() as logs:
        await answered(line)
    await line.close()
    # Its text may quote what was given to connect.
    assert [one.get("reason") for one in logs] == ["UnicodeError"]


async def test_what_is_sent_on_a_lost_connection_is_an_error_of_redis_pys(
    store: StoreSettings,
) -> None:
    connection = connection_factory(store)()
    await connection.connect()
    assert connection._writer is not None
    connection._writer.transport.abort()
    while not connection._writer.transport.is_closing():
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(StoreError, match="closed the connection"):
        take_over(connection)
    with pytest.raises(RedisConnectionError):
        await connection.send_command("PING", check_health=False)


async def test_a_reply_that_came_while_this_process_stalled_is_in_time(
    store: StoreSettings,
) -> None:
    line = Multiplexer(connection_factory(store), timeout=SECONDS)
    first = await line.call(pack("CLIENT", "ID"))
    asked: list[asyncio.Future[Any]] = []

    def ask() -> None:
        asked.append(line.call(pack("ECHO", "stalled")))
        line.flush("")

    await stall(SECONDS * 1.5, ask)
    assert await asked[0] == b"stalled"
    assert await line.call(pack("CLIENT", "ID")) == first, "the connection was kept"
    await line.close()


async def test_a_call_has_a_grace_of_its_own_after_that_of_the_call_before(
    store: StoreSettings,
) -> None:
    """Otherwise a stall in the grace of the one before would end it before its reply is read."""
    line = Multiplexer(connection_factory(store), timeout=SECONDS)
    before = line.call(pack("BLPOP", "nothing", SECONDS / 4))
    await asyncio.sleep(SECONDS / 10)
    call = line.call(pack("BLPOP", "nothing", SECONDS * 1.5))
    assert await before is None
    await stall(SECONDS)
    await stall(SECONDS * 2)
    assert await call is None
    await line.close()
