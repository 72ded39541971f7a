"""What the tests of leases and doors share."""

from tests.store.conftest import admission

__all__ = ["admission"]
