"""What tests of the store share."""

from pathlib import Path

import pytest

from gateway.store.embedded.engine import Engine, bundled, examine_binary


@pytest.fixture
def engine() -> Engine:
    """The bundled one: a server that happens to be on PATH must hide nothing."""
    path = bundled()
    assert path is not None
    found = examine_binary(Path(path))
    assert found is not None
    return found
