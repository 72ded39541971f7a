"""What the tests of leases and accesses share."""

from tests.store.conftest import admission

__all__ = ["admission"]
