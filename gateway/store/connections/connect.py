"""Opening connections to Redis, with redis-py."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig

from gateway.domain.errors import OperationError
from gateway.domain.settings import StoreSettings
from gateway.store.admission import Lines
from gateway.store.connections.cluster import ClusterClient, cluster_client
from gateway.store.connections.failures import translated
from gateway.store.connections.multiplex import Multiplexer
from gateway.store.connections.named import counterpart
from gateway.store.connections.nodes import masters
from gateway.store.connections.sentinel import MasterLine, master_client, master_pool, sentinels_of
from gateway.store.connections.slots import ClusterLines
from gateway.store.connections.urls import Kind, read_url
from gateway.store.embedded.engine import OLDEST_VERSION
from gateway.store.embedded.server import embedded

# Made once, since redis-py looks up its version among the installed packages each time.
_DRIVER = DriverInfo()


@asynccontextmanager
async def resolved(settings: StoreSettings) -> AsyncIterator[StoreSettings]:
    """Yield `settings` with a URL: the given one, or that of the embedded store.

    The embedded store is started for this context if it is not running yet.
    """
    if settings.url is not None:
        check_url(settings.url)
        yield settings
        return
    async with embedded(settings.state_dir) as socket:
        yield replace(settings, url=f"unix://{quote(str(socket))}")


@asynccontextmanager
async def open_store(settings: StoreSettings, held_back: float = 0.0) -> AsyncIterator[Redis]:
    """Yield a client for everything except the hot path. `held_back`: for how many seconds its
    commands let Redis hold back a reply."""
    async with resolved(settings) as found:
        url = read_url(found.url or "")
        options = {**_options(settings), "decode_responses": True}
        options["socket_timeout"] += held_back
        if url.kind is Kind.SENTINEL:
            async with master_client(url, options) as client:
                yield client
            return
        if url.kind is Kind.CLUSTER:
            async with cluster_client(url, options) as client:
                yield client
            return
        kind = counterpart(url.options.get("connection_class", Connection))
        pool = ConnectionPool(**{**options, **url.options, "connection_class": kind})
        client = Redis.from_pool(pool)
        try:
            yield client
        finally:
            await client.aclose()


def open_lines(settings: StoreSettings, prepare: tuple[bytes, ...] = ()) -> Lines:
    """Return connections for the hot path, to be closed by the caller. `settings` has a URL."""
    cluster = cluster_of(settings)
    if cluster is not None:
        return ClusterLines(cluster, timeout=settings.timeout, prepare=prepare)
    return _line(settings, prepare)


def open_line(settings: StoreSettings) -> Multiplexer | None:
    """Like `open_lines`, to the one Redis that takes all writes; None if the URL names a cluster,
    which has several."""
    is_cluster = read_url(settings.url or "").kind is Kind.CLUSTER
    return None if is_cluster else _line(settings)


def _line(settings: StoreSettings, prepare: tuple[bytes, ...] = ()) -> Multiplexer:
    url = read_url(settings.url or "")
    if url.kind is Kind.SENTINEL:
        return MasterLine(url, _plain(settings), settings.timeout, prepare)
    return Multiplexer(connection_factory(settings), timeout=settings.timeout, prepare=prepare)


def cluster_of(settings: StoreSettings) -> ClusterClient | None:
    """Return an unconnected client if the URL names a cluster, else None."""
    url = read_url(settings.url or "")
    return ClusterClient(url, _plain(settings)) if url.kind is Kind.CLUSTER else None


@asynccontextmanager
async def connections(settings: StoreSettings) -> AsyncIterator[Callable[[], Connection]]:
    """Yield a function that makes new, not yet connected connections. `settings` has a URL."""
    url = read_url(settings.url or "")
    if url.kind is Kind.SENTINEL:
        async with aclosing(sentinels_of(url, settings.timeout)) as sentinels:
            yield master_pool(sentinels, url, _plain(settings)).make_connection
    else:
        yield connection_factory(settings)


def connection_factory(settings: StoreSettings) -> Callable[[], Connection]:
    """Return a function that makes new, not yet connected connections to the URL's one node."""
    given = dict(read_url(settings.url or "").options)
    kind = counterpart(given.pop("connection_class", Connection))
    options = {**given, **_plain(settings)}
    return lambda: kind(**options)


def check_url(url: str) -> str:
    """Return `url` if it is usable; UsageError, without its password, if not."""
    read_url(url)
    return url


async def examine(client: Redis) -> tuple[str, ...]:
    """Return warnings about each server; OperationError if one is too old to use.

    Each warning is a sentence about a setting under which counters or revocations can be lost.
    """
    found: list[str] = []
    with translated():
        async with masters(client) as nodes:
            for address, node in nodes.items():
                at = f"{address}: " if address else ""
                found += [at + warning for warning in judge(await node.info(), address)]
    return tuple(found)


def judge(info: Mapping[str, Any], address: str) -> tuple[str, ...]:
    """Like `examine`, for one server by its INFO. `address`: its address in a cluster, else ''."""
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_VERSION:
        raise OperationError(f"Redis {version} is too old: the gateway needs 7.0 or newer.")
    warnings = []
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        warnings.append(
            f"Redis evicts keys when it is full (maxmemory-policy {info['maxmemory_policy']}): "
            "quotas would start anew in silence. Set it to noeviction."
        )
    if not info.get("aof_enabled", 1):
        warnings.append(
            "Redis writes no append-only file: a crash can bring revoked keys back. Say "
            "'CONFIG SET appendonly yes' before its configuration has it too: a Redis that is "
            "started with it, and has no such file yet, begins empty."
        )
    if info.get("cluster_enabled") and not address:
        warnings.append(
            "This Redis is a node of a cluster, and the keys of the others are refused: give its "
            "address as redis+cluster://host:port."
        )
    return tuple(warnings)


def _options(settings: StoreSettings) -> dict[str, Any]:
    # redis-py by default repeats a command ten times, even one that charges. Measured: one INCR
    # whose replies were lost left the counter at eleven.
    return {
        "retry": Retry(NoBackoff(), 0),
        # With these, redis-py does not check whether a pooled connection was closed meanwhile, and
        # without retries its next command fails.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": settings.timeout,
        "driver_info": _DRIVER,
    }


def _plain(settings: StoreSettings) -> dict[str, Any]:
    """Options for connections whose replies are read as raw bytes."""
    return {**_options(settings), "protocol": 2, "decode_responses": False}
