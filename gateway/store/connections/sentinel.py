"""Redis behind sentinels: connections to the current master.

redis-py makes the connections. Its own discovery asks one sentinel after the other and takes the
first answer: a sentinel that hangs would use up the time, and one that was cut off would lead to a
server that is no longer the master.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.utils import str_if_bytes

from gateway.store.connections.multiplex import Multiplexer
from gateway.store.connections.named import NamedConnection, NamedTlsConnection, client_of
from gateway.store.connections.urls import StoreUrl
from gateway.tasks import cancel_and_wait, unending

# After a manual failover the old master keeps serving for seconds: only the sentinels know better.
WATCH_SECONDS = 0.25


class Sentinels(Sentinel):
    """Asks all sentinels at once: more than half have to answer, or all that are reachable."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        tasks = [asyncio.create_task(self._ask(one, service_name)) for one in self.sentinels]
        states: list[dict[str, Any]] = []
        try:
            for answer in asyncio.as_completed(tasks):
                state = await answer
                if state is not None:
                    states.append(state)
                if len(states) * 2 > len(tasks):
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._newest(states, service_name)

    def _newest(self, states: list[dict[str, Any]], name: str) -> tuple[str, int]:
        """Return the newest master: each failover raises the epoch, so older ones are past."""
        known = [state for state in states if state]
        epoch = max((state["config-epoch"] for state in known), default=0)
        for state in known:
            if state["config-epoch"] == epoch and self.check_master_state(state, name):
                return state["ip"], state["port"]
        if states and not known:
            raise MasterNotFoundError(f"the sentinels know no master named {name!r}.")
        answered = f"{len(states)} of {len(self.sentinels)} sentinels answered"
        raise MasterNotFoundError(f"no master {name!r} is alive, {answered}.")

    async def _ask(self, sentinel: Redis, name: str) -> dict[str, Any] | None:
        """Return the master's state, empty if it knows none. None: the sentinel does not answer."""
        try:
            state = cast(dict[str, Any], await sentinel.sentinel_master(name))
            # Until every replica follows, the leader of a failover reports its new epoch together
            # with the old master, where writes would be lost.
            now = await cast(Awaitable[Any], sentinel.sentinel_get_master_addr_by_name(name))
        except ResponseError as refused:
            return {} if "No such master" in str(refused) else None
        except (RedisError, OSError):
            return None
        return state if now is None else state | {"ip": str_if_bytes(now[0]), "port": now[1]}


class MasterConnection(SentinelManagedConnection, NamedConnection):
    """Connects only to a server that says it is a master: sentinels and replicas may be behind."""

    async def connect_to(self, address: tuple[str, int]) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        await self.send_command("INFO", "replication")
        replication = await self.read_response(disable_decoding=True)
        if b"role:master" not in replication:
            await self.disconnect()
            raise RedisConnectionError("the sentinels lead to a replica")


class MasterTlsConnection(MasterConnection, NamedTlsConnection):
    pass


def sentinels_of(url: StoreUrl, seconds: float) -> Sentinels:
    """Return clients of the sentinels, to be closed by the caller. `seconds`: for discovery and
    connection together."""
    options = {name: value for name, value in url.options.items() if name.startswith("ssl_")}
    options |= {"socket_timeout": seconds / 2, "socket_connect_timeout": seconds / 2}
    options |= {"retry": Retry(NoBackoff(), 0), **url.login}
    found = Sentinels(())  # type: ignore[no-untyped-call]
    found.sentinels = [client_of(host, port, tls=url.tls, **options) for host, port in url.nodes]
    return found


def master_pool(
    sentinels: Sentinels, url: StoreUrl, options: dict[str, Any]
) -> SentinelConnectionPool:
    kind = MasterTlsConnection if url.tls else MasterConnection
    options = {**url.options, **options, "connection_class": kind}
    return SentinelConnectionPool(url.master, sentinels, **options)


@asynccontextmanager
async def master_client(url: StoreUrl, options: dict[str, Any]) -> AsyncIterator[Redis]:
    """Yield a client whose connections follow the master."""
    sentinels = sentinels_of(url, options["socket_connect_timeout"])
    pool = master_pool(sentinels, url, options)
    client: Redis = Redis.from_pool(pool)
    watching = unending(partial(_follow, pool))
    try:
        yield client
    finally:
        await cancel_and_wait(watching)
        await client.aclose()
        await sentinels.aclose()


async def _follow(pool: SentinelConnectionPool) -> None:
    """Ask for the master again and again; the pool drops its idle connections when it changes."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        with suppress(RedisError, OSError):
            await pool.get_master_address()


class MasterLine(Multiplexer):
    """The multiplexed connection to the current master."""

    def __init__(
        self, url: StoreUrl, options: dict[str, Any], timeout: float, prepare: tuple[bytes, ...]
    ) -> None:
        self._sentinels = sentinels_of(url, timeout)
        self._pool = master_pool(self._sentinels, url, options)
        self._latest: Connection | None = None
        super().__init__(self._new_connection, timeout=timeout, prepare=prepare)
        self._watching = unending(self._watch)

    def _new_connection(self) -> Connection:
        self._latest = self._pool.make_connection()
        return self._latest

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(RedisError, OSError):
                master = await self._pool.get_master_address()
                latest = self._latest
                if latest is not None and (latest.host, latest.port) != master:
                    self.reconnect("Redis has another master now.")

    async def close(self) -> None:
        await cancel_and_wait(self._watching)
        await super().close()
        await self._sentinels.aclose()
