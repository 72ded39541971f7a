"""A secret that a fleet shares is the first one that was made, and nothing that is none."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.store.shared_secret import shared_secret


async def test_all_who_ask_get_the_same(client: Redis) -> None:
    found = await asyncio.gather(*(shared_secret(client, "gw:s") for _ in range(5)))
    assert len(set(found)) == 1 and len(found[0]) == 32


@pytest.mark.parametrize("kept", ["", "no hex at all", "ab" * 31])
async def test_what_is_no_such_secret_is_not_used(client: Redis, kept: str) -> None:
    await client.set("gw:s", kept)
    with pytest.raises(StoreError, match="gw:s"):
        await shared_secret(client, "gw:s")
