"""The server that tests run against: the bundled one, or TEST_REDIS=/usr/bin/redis-server."""

import os

from gateway.store.embedded.engine import bundled


def server_binary() -> str:
    path = os.environ.get("TEST_REDIS") or bundled()
    assert path is not None, "install the extra 'embedded', or set TEST_REDIS"
    return path
