"""Where callers and users reach the gateway, for whoever did not say."""

import os
import platform
from contextlib import suppress

from gateway.domain.errors import GatewayError
from gateway.domain.settings import LISTEN, StoreSettings, data_url, parse_address
from gateway.store.connections.connect import open_store
from gateway.store.workers import WorkerStore


async def own_place(store: StoreSettings) -> str:
    """Where a gateway of this machine listens, or would by itself."""
    places = []
    # Whoever may not look for workers has made a key all the same.
    with suppress(GatewayError):
        async with open_store(store) as client:
            workers = await WorkerStore(client, store.prefix).all()
        places = [one.listen for one in workers if one.host == platform.node() and one.listen]
    address = parse_address(LISTEN)
    with suppress(ValueError):
        address = parse_address(places[0]) if places else address
    return data_url(address, tls=bool(os.environ.get("GATEWAY_TLS_CERT")))
