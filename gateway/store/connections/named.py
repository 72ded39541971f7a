"""What redis-py's connections lack: a host name leads to the first of its addresses that answers,
a lost connection is an error of redis-py's under every event loop, and a stall of this process is
not the fault of Redis."""

import asyncio
import math
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.happy_eyeballs import connect_to_first
from gateway.timers import timeout


class _Mended(AbstractConnection):
    """Times connecting, closing, commands and replies itself: redis-py's own timers would take a
    stall of this process for the silence of Redis."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._connect_seconds, self.socket_connect_timeout = self.socket_connect_timeout, None
        self._reply_seconds, self.socket_timeout = self.socket_timeout, None

    async def send_packed_command(self, *given: Any, **named: Any) -> None:
        """uvloop raises RuntimeError where something is written to a connection that was lost a
        moment ago, and redis-py passes it on. Whoever expects redis-py's errors would end on it:
        what keeps the gateway connected did, for good, when Redis reset a connection that was being
        made."""
        try:
            async with timeout(self._reply_seconds):
                await super().send_packed_command(*given, **named)
        except TimeoutError:
            raise RedisTimeoutError("Redis took no command in time.") from None
        except RuntimeError as lost:
            raise RedisConnectionError("The connection was lost.") from lost

    async def _connect(self) -> None:
        async with timeout(self._connect_seconds):
            await super()._connect()  # type: ignore[safe-super, no-untyped-call]

    async def disconnect(self, *given: Any, **named: Any) -> None:
        if asyncio.current_task() is None:
            # During garbage collection it only closes, and no timer can be used.
            await super().disconnect(*given, **named)
            return
        try:
            async with timeout(self._connect_seconds):
                await super().disconnect(*given, **named)
        except TimeoutError:
            raise RedisTimeoutError("The connection could not be closed in time.") from None

    async def read_response(self, *given: Any, **named: Any) -> Any:
        if named.get("timeout") is not None:
            return await super().read_response(*given, **named)
        try:
            async with timeout(self._reply_seconds):
                return await super().read_response(*given, **named)
        except TimeoutError:
            raise RedisTimeoutError("Redis did not answer in time.") from None


class NamedConnection(_Mended, Connection):
    """redis-py tries the addresses one after the other within one timeout: after one that does not
    answer, no other would be tried."""

    _socket: socket.socket | None = None

    async def _connect(self) -> None:
        seconds = self._connect_seconds
        async with timeout(seconds):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            addresses = [str(info[4][0]) for info in found]
            self._socket = await connect_to_first(addresses, int(self.port), seconds or math.inf)
            await super()._connect()

    def _connection_arguments(self) -> dict[str, Any]:
        """Return the arguments for asyncio's `open_connection`."""
        given = {**super()._connection_arguments(), "sock": self._socket}
        host, _ = given.pop("host"), given.pop("port")
        return given | ({"server_hostname": host} if "ssl" in given else {})


class NamedTlsConnection(NamedConnection, SSLConnection):
    pass


class SocketConnection(_Mended, UnixDomainSocketConnection):
    pass


def client_of(host: str, port: int, *, tls: bool, **options: Any) -> Redis:
    """Return a client of one node."""
    kind = NamedTlsConnection if tls else NamedConnection
    pool = ConnectionPool(**{**options, "host": host, "port": port, "connection_class": kind})
    return Redis.from_pool(pool)


_COUNTERPARTS: Mapping[type[AbstractConnection], Any] = MappingProxyType(
    {
        Connection: NamedConnection,
        SSLConnection: NamedTlsConnection,
        UnixDomainSocketConnection: SocketConnection,
    }
)


def counterpart(kind: type[AbstractConnection]) -> type[Connection]:
    """Return the class of this module that takes the place of redis-py's `kind`."""
    found: type[Connection] = _COUNTERPARTS[kind]
    return found
