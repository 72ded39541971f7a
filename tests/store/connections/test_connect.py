"""What is not on the hot path speaks to Redis once, too."""

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.domain.errors import UnreachableError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import connection_factory, open_store
from gateway.store.connections.failures import translated
from tests.flows.own_store import own_store
from tests.stalling import stall
from tests.store.connections.relayed import SECONDS, relayed


async def test_an_act_whose_answer_is_lost_is_not_done_again(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    async with relayed(store, tmp_path) as (relay, path):
        relay.mutes_at = b"INCR"
        lossy = replace(store, url=f"unix://{path}", timeout=SECONDS)
        async with open_store(lossy) as acting:
            act = asyncio.create_task(acting.incr("acts"))
            await relay.seen(1)
            # Whoever asks again is heard, and told.
            relay.mutes_at, relay.muted = b"\0", False
            relay.cut()
            with pytest.raises(RedisError):
                await act
    assert await client.get("acts") == "1"


async def test_an_answer_that_came_while_this_process_stalled_is_in_time(
    store: StoreSettings, client: Redis
) -> None:
    async with open_store(replace(store, timeout=SECONDS)) as acting:
        # Redis answers in the midst of the stall.
        act = asyncio.create_task(acting.execute_command("BLPOP", "nothing", SECONDS / 2))
        while not (await client.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0)
        await stall(SECONDS * 1.5)
        assert await act is None


async def test_a_server_that_took_the_connection_while_this_process_stalled_is_in_time(
    store: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncio.open_unix_connection

    async def stalled(path: str) -> object:
        await stall(SECONDS * 1.5)
        return await opened(path)

    monkeypatch.setattr(asyncio, "open_unix_connection", stalled)
    async with open_store(replace(store, timeout=SECONDS)) as acting:
        assert await acting.ping()


async def test_a_connection_that_closed_while_this_process_stalled_is_closed_in_time(
    store: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.StreamWriter.wait_closed

    async def stalled(writer: asyncio.StreamWriter) -> None:
        await stall(SECONDS * 1.5)
        await closed(writer)

    async with open_store(replace(store, timeout=SECONDS)) as acting:
        await acting.ping()
        monkeypatch.setattr(asyncio.StreamWriter, "wait_closed", stalled)


async def test_a_connection_that_does_not_close_is_not_waited_for_without_end(
    store: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connection_factory(replace(store, timeout=SECONDS))()
    await connection.connect()
    monkeypatch.setattr(asyncio.StreamWriter, "wait_closed", lambda _: asyncio.sleep(60))
    with pytest.raises(RedisError):
        await connection.disconnect()


async def test_a_connection_that_two_close_at_a_time_still_has_its_timeout(
    store: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connection_factory(replace(store, timeout=SECONDS))()
    await connection.connect()
    await asyncio.gather(connection.disconnect(), connection.disconnect())
    monkeypatch.setattr(asyncio, "open_unix_connection", lambda path: asyncio.sleep(60))
    with pytest.raises(RedisError):
        await connection.connect()


async def test_a_connection_that_the_system_gave_up_is_no_empty_answer(
    store: StoreSettings,
) -> None:
    connection = connection_factory(store)()
    await connection.connect()
    await connection.send_command("BLPOP", "nothing", 60)
    # What a reader is told when a peer acknowledges nothing, before redis-py's own timeout is over.
    lost = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    connection._reader.set_exception(lost)  # type: ignore[union-attr]
    try:
        with pytest.raises(RedisError):
            await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)


async def test_a_redis_that_takes_no_command_is_not_waited_for() -> None:
    async with own_store() as own:
        connection = connection_factory(replace(own.settings, timeout=SECONDS))()
        await connection.connect()
        own.freeze()
        try:
            with pytest.raises(RedisError):
                # More than the buffers of a socket hold.
                await connection.send_command("ECHO", b"x" * 2**24)
        finally:
            own.thaw()


async def test_a_login_is_the_same_to_every_connection_before_redis_asks_for_a_password() -> None:
    """So that a password is first given to gateways, and then set in Redis."""
    async with own_store() as store:
        asked = replace(store.settings, url=f"{store.settings.url}?password=secret")
        for _ in range(2):
            async with open_store(asked) as acting:
                assert await acting.ping()
            connection = connection_factory(asked)()
            await connection.connect()
            await connection.disconnect()
            await store.client.config_set("requirepass", "secret")


async def test_a_login_that_is_missing_is_said_with_where_it_is_given() -> None:
    async with own_store() as store, open_store(store.settings) as acting:
        await store.client.config_set("requirepass", "secret")
        with pytest.raises(UnreachableError, match="redis://user:password@host"), translated():
            await acting.ping()
