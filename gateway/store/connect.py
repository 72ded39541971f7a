"""Connections to Redis, made by redis-py."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote, urlsplit

from redis.asyncio import Connection, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.domain.errors import OperationError, StoreError, UsageError
from gateway.domain.settings import StoreSettings
from gateway.store.admission import Lines
from gateway.store.embedded import embedded
from gateway.store.engine import OLDEST
from gateway.store.failures import translated
from gateway.store.multiplex import Multiplexer

SCHEMES = ("redis", "rediss", "unix")
NOT_YET = {"redis+sentinel": "Sentinel", "redis+cluster": "Cluster"}


@asynccontextmanager
async def resolved(settings: StoreSettings) -> AsyncIterator[StoreSettings]:
    """`settings` with a URL: the one given, or that of the embedded store.

    Where that one does not run yet, it runs for as long as this context.
    """
    if settings.url is not None:
        check_url(settings.url)
        yield settings
        return
    async with embedded(settings.state_dir) as store:
        yield replace(settings, url=f"unix://{quote(str(store.socket))}")


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncIterator[Redis]:
    """A client for everything that is not the hot path."""
    async with resolved(settings) as found:
        client = Redis.from_url(found.url or "", decode_responses=True, **_options(settings))
        try:
            yield client
        finally:
            await client.aclose()


def connection_factory(settings: StoreSettings) -> Callable[[], Connection]:
    """Makes new, not yet connected connections, for the multiplexer. `settings` has a URL."""
    given: dict[str, Any] = dict(parse_url(check_url(settings.url or "")))
    kind = cast(Callable[..., Connection], given.pop("connection_class", Connection))
    options = {**given, **_options(settings), "protocol": 2, "decode_responses": False}
    return lambda: kind(**options)


def open_lines(settings: StoreSettings, prepare: tuple[bytes, ...] = ()) -> Lines:
    """For the hot path, to be closed by whoever asked for it. `settings` has a URL."""
    return Multiplexer(connection_factory(settings), timeout=settings.timeout, prepare=prepare)


def check_url(url: str) -> str:
    """`url`, if it is one that this version can use; UsageError never repeats its password."""
    scheme = url.partition("://")[0]
    if scheme in NOT_YET:
        raise UsageError(
            f"This version does not support Redis {NOT_YET[scheme]} yet: give the address of the "
            "primary as redis://host:port."
        )
    try:
        parsed = urlsplit(url)
        place = parsed.path if scheme == "unix" else parsed.hostname
        usable = scheme in SCHEMES and bool(place) and (scheme == "unix" or parsed.port != 0)
        parse_url(url)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "The Redis URL is not one: use redis://host:6379/0, rediss://user:password@host:6379 "
            "or unix:///path/to/socket."
        )
    return url


async def examine(client: Redis) -> tuple[str, ...]:
    """What an operator should know of the server; OperationError if it is too old to use.

    A sentence each for settings under which counters or revocations can be lost.
    """
    with translated():
        info = await client.info()
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        raise OperationError(f"Redis {version} is too old: the gateway needs 7.0 or newer.")
    warnings = []
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        warnings.append(
            f"Redis evicts keys when it is full (maxmemory-policy {info['maxmemory_policy']}): "
            "quotas would start anew in silence. Set it to noeviction."
        )
    if not info.get("aof_enabled", 1):
        warnings.append(
            "Redis writes no append-only file: a crash can bring revoked keys back. Set "
            "'appendonly yes'."
        )
    return tuple(warnings)


async def ping(client: Redis) -> None:
    """StoreError with a sentence for people unless Redis answers."""
    try:
        with translated():
            await client.ping()
    except StoreError as problem:
        raise StoreError(f"{problem} Check --redis or GATEWAY_REDIS_URL.") from None


def _options(settings: StoreSettings) -> dict[str, Any]:
    # redis-py repeats a command ten times by default, one that charges too (measured: one INCR
    # whose replies were lost left the counter at eleven).
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": settings.timeout,
        "socket_timeout": settings.timeout,
    }
