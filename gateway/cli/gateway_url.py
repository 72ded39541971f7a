"""The URL at which callers and users reach the gateway, if none was given."""

import os
import platform
from contextlib import suppress
from socket import SOCK_DGRAM, getaddrinfo, socket

from gateway.domain.errors import GatewayError
from gateway.domain.settings import LISTEN, Address, StoreSettings, data_url, parse_address
from gateway.store.connections.connect import open_store
from gateway.store.workers import WorkerStore


async def local_gateway_url(store: StoreSettings) -> str:
    """Return the URL at which a gateway on this machine listens, or else the default one."""
    address = parse_address(LISTEN)
    # The key was made already, even if this login may not look for workers.
    with suppress(GatewayError):
        async with open_store(store) as client:
            workers = await WorkerStore(client, store.prefix).all()
        addresses = (one.listen for one in workers if one.host == platform.node())
        address = next(filter(None, map(_own, addresses)), address)
    return data_url(address, tls=bool(os.environ.get("GATEWAY_TLS_CERT")))


def _own(listen: str) -> Address | None:
    """Return the address, or None if it is not one of this machine: somebody who can write to Redis
    must not be able to decide where keys and users' credentials are sent."""
    with suppress(OSError, ValueError):
        address = parse_address(listen)
        for family, kind, _, _, place in getaddrinfo(address.host, 0, type=SOCK_DGRAM):
            with suppress(OSError), socket(family, kind) as probe:
                probe.bind(place)
                return address
    return None
