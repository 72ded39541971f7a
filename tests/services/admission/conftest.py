"""What the tests of leases and doors share."""

from collections.abc import AsyncIterator

import pytest

from gateway.domain.settings import StoreSettings
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import open_lines


@pytest.fixture
async def admission(store: StoreSettings) -> AsyncIterator[Admission]:
    made = Admission(open_lines(store, PREPARE), store.prefix)
    yield made
    await made.close()
