"""One gateway in front of one echoing agent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.services.audit import denials
from tests.flows.world import World, new_world


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves: its transports differ from asyncio's own in what a close does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(store: StoreSettings, client: Redis) -> AsyncIterator[World]:
    async with new_world(store, client) as made:
        yield made


@pytest.fixture
def short_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted of refusals is told within a second."""
    monkeypatch.setattr(denials, "FOLD_SECONDS", 0.5)
    monkeypatch.setattr(denials, "TICK_SECONDS", 0.05)
