"""Connections to a Redis by its name: to whichever of its addresses answers first."""

import asyncio
import math
import socket
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection

from gateway.race import reach


class NamedConnection(Connection):
    """redis-py asks the addresses one after the other, within the time for all: behind one that
    does not answer, no other would ever be asked."""

    _socket: socket.socket | None = None

    async def _connect(self) -> None:
        seconds = self.socket_connect_timeout
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            addresses = [str(info[4][0]) for info in found]
            self._socket = await reach(addresses, int(self.port), seconds or math.inf)
            await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> dict[str, Any]:
        """Of asyncio's `open_connection`."""
        given = {**super()._connection_arguments(), "sock": self._socket}
        host, _ = given.pop("host"), given.pop("port")
        return given | ({"server_hostname": host} if "ssl" in given else {})


class NamedTlsConnection(NamedConnection, SSLConnection):
    pass


def client_of(host: str, port: int, *, tls: bool, **options: Any) -> Redis:
    """A client of one node."""
    kind = NamedTlsConnection if tls else NamedConnection
    pool = ConnectionPool(**{**options, "host": host, "port": port, "connection_class": kind})
    return Redis.from_pool(pool)


def reaching(kind: type[Connection]) -> type[Connection]:
    """As redis-py's `kind`, if that goes by a name."""
    return {Connection: NamedConnection, SSLConnection: NamedTlsConnection}.get(kind, kind)
