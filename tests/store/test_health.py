"""What an operator has to know of a Redis."""

import asyncio
import time

import pytest
from redis.exceptions import ResponseError

from gateway.store.health import health
from tests.flows.own_store import own_store


async def test_a_redis_that_refuses_writes_for_a_snapshot_that_it_cannot_save_is_told_of() -> None:
    async with own_store() as store:
        client = store.client
        (store.folder / "dump.rdb" / "in-its-way").mkdir(parents=True)
        assert (await health(client, time.time))[0].warnings == ()
        await client.config_set("save", "3600 1")
        await client.bgsave()
        async with asyncio.timeout(10):
            while (await client.info("persistence"))["rdb_last_bgsave_status"] == "ok":
                await asyncio.sleep(0.01)
        with pytest.raises(ResponseError, match="MISCONF"):
            await client.set("any", "thing")
        (warning,) = (await health(client, time.time))[0].warnings
        assert "could not save its last snapshot" in warning
