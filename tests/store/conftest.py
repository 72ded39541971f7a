"""What tests of the store share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.settings import StoreSettings
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import open_lines
from gateway.store.embedded.engine import Engine, bundled, examine_binary


@pytest.fixture
async def admission(store: StoreSettings) -> AsyncIterator[Admission]:
    made = Admission(open_lines(store, PREPARE), store.prefix)
    yield made
    await made.close()


@pytest.fixture
def engine() -> Engine:
    """The bundled one: a server that happens to be on PATH must hide nothing."""
    path = bundled()
    assert path is not None
    found = examine_binary(Path(path))
    assert found is not None
    return found
