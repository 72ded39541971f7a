"""Connections to a Redis host name: to the first of its addresses that answers."""

import asyncio
import math
import socket
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection

from gateway.happy_eyeballs import connect_to_first


class NamedConnection(Connection):
    """redis-py tries the addresses one after the other within one timeout: after one that does not
    answer, no other would be tried."""

    _socket: socket.socket | None = None

    async def _connect(self) -> None:
        seconds = self.socket_connect_timeout
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            addresses = [str(info[4][0]) for info in found]
            self._socket = await connect_to_first(addresses, int(self.port), seconds or math.inf)
            await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> dict[str, Any]:
        """Return the arguments for asyncio's `open_connection`."""
        given = {**super()._connection_arguments(), "sock": self._socket}
        host, _ = given.pop("host"), given.pop("port")
        return given | ({"server_hostname": host} if "ssl" in given else {})


class NamedTlsConnection(NamedConnection, SSLConnection):
    pass


def client_of(host: str, port: int, *, tls: bool, **options: Any) -> Redis:
    """Return a client of one node."""
    kind = NamedTlsConnection if tls else NamedConnection
    pool = ConnectionPool(**{**options, "host": host, "port": port, "connection_class": kind})
    return Redis.from_pool(pool)


def reaching(kind: type[Connection]) -> type[Connection]:
    """Return the counterpart of redis-py's `kind` that handles host names, if `kind` uses them."""
    return {Connection: NamedConnection, SSLConnection: NamedTlsConnection}.get(kind, kind)
