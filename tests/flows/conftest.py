"""One gateway in front of one echoing agent."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.flows.world import World, new_world


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client) as made:
        yield made
