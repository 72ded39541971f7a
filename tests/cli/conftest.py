"""What tests of commands share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.settings import StoreSettings
from tests.cli.commands import Commands, VaultCommands
from tests.cli.crews import SlowAgent, slow_agent


@pytest.fixture
def keys(store: StoreSettings, tmp_path: Path) -> Commands:
    return Commands(store, tmp_path)


@pytest.fixture
def key(keys: Commands) -> str:
    """A whole key of `sales`."""
    return keys.create().text


@pytest.fixture
def vault(store: StoreSettings, tmp_path: Path) -> VaultCommands:
    return VaultCommands(store, tmp_path)


@pytest.fixture
async def agent() -> AsyncIterator[SlowAgent]:
    async with slow_agent() as made:
        yield made
