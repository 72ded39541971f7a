"""One gateway in front of one echoing agent."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.services.audit import denials
from tests.flows.services import Backend, backend
from tests.flows.world import World, new_world


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client) as made:
        yield made


@pytest.fixture
async def there() -> AsyncIterator[Backend]:
    """A service that keeps all that arrived."""
    async with backend() as made:
        yield made


@pytest.fixture
def short_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted of refusals is told within a second."""
    monkeypatch.setattr(denials, "FOLD_SECONDS", 0.5)
    monkeypatch.setattr(denials, "TICK_SECONDS", 0.05)
