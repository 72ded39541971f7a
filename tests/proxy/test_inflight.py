"""Open streams are asked about once a second, however long the asking takes."""

import asyncio
import time
from contextlib import suppress

from redis.asyncio import Redis

from gateway.crypto.argon2 import hash_key
from gateway.domain.errors import Code, Denied
from gateway.domain.settings import StoreSettings
from gateway.proxy.inflight import SWEEP_SECONDS, Inflight
from gateway.services.admission.standing import Standing
from gateway.store.connections.connect import open_store
from gateway.store.keys import KeyStore
from tests.awake import awake
from tests.flows.own_store import own_store
from tests.flows.relays import relayed

KEY_ID = "000000000000"
PHC = hash_key("any")
DELAY = 0.2
TURNS = 4


async def test_a_slow_store_makes_no_look_rarer() -> None:
    """Two round trips a look, each with `DELAY` on both ways: rests between looks are shorter by
    as much. A stream whose key is revoked meanwhile is cut."""
    async with (
        own_store() as store,
        relayed(store) as relay,
        open_store(store.settings) as client,
    ):
        name = f"gw:key:{{{KEY_ID}}}"
        await store.client.hset(name, mapping={"hash": PHC, "status": "active"})
        inflight = Inflight(KeyStore(client, "gw:"), time.monotonic, 60.0, lambda _: True)
        cut = asyncio.Queue[Denied]()
        relay.delay = DELAY
        stream = inflight.stream(Standing(KEY_ID, PHC, None, None), cut.put_nowait)
        with stream, awake() as passed:
            watching = asyncio.create_task(inflight.watch())
            looks = []
            async with asyncio.timeout(60):
                while len(looks) <= TURNS:
                    before = await read(store.client)
                    while await read(store.client) == before:
                        await asyncio.sleep(0.01)
                    looks.append(passed())
                assert cut.empty()
                await store.client.hset(name, "status", "revoked")
                assert (await cut.get()).code == Code.KEY_REVOKED
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        assert (looks[-1] - looks[0]) / TURNS < SWEEP_SECONDS + DELAY


async def test_a_stream_that_cannot_be_ended_keeps_no_other_from_its_end(
    store: StoreSettings, client: Redis
) -> None:
    inflight = Inflight(KeyStore(client, "gw:"), time.monotonic, 60.0, lambda _: True)
    cut = asyncio.Queue[Denied]()

    def broken(denied: Denied) -> None:
        raise OSError

    # No record: the key is not known any more.
    standing = Standing(KEY_ID, PHC, None, None)
    with inflight.stream(standing, broken), inflight.stream(standing, cut.put_nowait):
        watching = asyncio.create_task(inflight.watch())
        async with asyncio.timeout(10):
            await cut.get()
            await cut.get()
        assert not watching.done()
        watching.cancel()


async def read(client: Redis) -> int:
    """How many records were read so far."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_hmget", {}).get("calls", 0))
