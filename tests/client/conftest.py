"""A gateway with a vault, for agents that pull."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.client.agents import Pulling
from tests.flows.world import new_world
from tests.services.vaults import Vault


@pytest.fixture
async def pulling(store: StoreSettings, client: Redis) -> AsyncIterator[Pulling]:
    vault = Vault(client)
    for name in ("crm", "openai_key", "other"):
        await vault.write(name)
    async with new_world(store, client) as world:
        key = await world.issue("gateway/credentials:crm", "gateway/credentials:openai_key")
        yield Pulling(world, vault, key.text)
