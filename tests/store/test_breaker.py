"""Once a node is known to be away it costs its callers milliseconds, and no moment longer."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.line import pack
from gateway.store.connections.multiplex import PATIENCE, Multiplexer
from tests.awake import awake
from tests.store.connections.relayed import SECONDS, answered, relayed_line, within

# Far below a timeout, far above what a refusal takes.
AT_ONCE = 0.1


async def refused(line: Multiplexer, times: int = 20) -> float:
    """The longest that one of so many calls took to be refused."""
    longest = 0.0
    for _ in range(times):
        with awake() as passed, pytest.raises(StoreError):
            await line.call(pack("PING"))
        longest = max(longest, passed())
        await asyncio.sleep(0.01)
    return longest


async def test_after_the_first_timeout_every_call_is_refused_at_once(
    store: StoreSettings, tmp_path: Path
) -> None:
    async with relayed_line(store, tmp_path, SECONDS) as (relay, _, line):
        relay.muted = True
        with within(SECONDS * 3), pytest.raises(StoreError):
            await line.call(pack("PING"))
        assert await refused(line) < AT_ONCE
        relay.muted = False
        with within(1.0 + SECONDS):
            await answered(line)


async def test_a_server_that_is_gone_is_waited_for_briefly_and_then_not_at_all(
    store: StoreSettings, tmp_path: Path
) -> None:
    lost = asyncio.Event()
    async with relayed_line(store, tmp_path, on_lost=lost.set) as (relay, path, line):
        path.unlink()
        relay.cut()
        await lost.wait()
        with within(PATIENCE + 1.0), pytest.raises(StoreError):
            await line.call(pack("PING"))
        assert await refused(line) < AT_ONCE


async def test_a_connection_that_is_back_within_moments_costs_nobody_an_error(
    store: StoreSettings, tmp_path: Path
) -> None:
    lost = asyncio.Event()
    async with relayed_line(store, tmp_path, on_lost=lost.set) as (relay, _, line):
        relay.cut()
        await lost.wait()
        calls = [line.call(pack("PING")) for _ in range(100)]
        assert await asyncio.gather(*calls) == [b"PONG"] * 100


async def test_a_server_that_connects_but_runs_no_script_is_not_back(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    """PING is answered by a server that holds up every write; admissions are not."""
    async with relayed_line(store, tmp_path, SECONDS) as (_, _, line):
        await client.client_pause(60_000, all=False)
        try:
            with within(SECONDS * 3), pytest.raises(StoreError):
                await line.call(pack("INCR", "n"))
            assert await refused(line, times=int(SECONDS * 3 / 0.01)) < AT_ONCE
        finally:
            await client.client_unpause()
        with within(1.0 + SECONDS):
            await answered(line)
