"""The Redis URLs that people write, parsed into what redis-py's classes take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from gateway.domain.errors import UsageError

SENTINEL_PORT, REDIS_PORT = 26379, 6379
# The login for the sentinels themselves, if they require one.
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
# RFC 3986 section 3.2: one of these ends the authority.
_SEPARATOR = re.compile(r"[/?#]")
# redis-py takes anything else for database 0.
_DATABASE = re.compile(r"(/(\d+/?)?)?", re.ASCII)


class Kind(Enum):
    """The kind of deployment that a URL names."""

    NODE = ""
    SENTINEL = "+sentinel"
    CLUSTER = "+cluster"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`nodes`: sentinels, or some of the cluster's nodes; empty for one node, whose address is
    among the `options` for connections to Redis. `login`: for the sentinels themselves."""

    kind: Kind
    options: Mapping[str, Any] = field(repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    tls: bool = False
    login: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts; none for a unix socket."""
        alone = self.options.get("host", "")
        return tuple(host for host, _ in self.nodes) or tuple(filter(None, (alone,)))


def read_url(url: str) -> StoreUrl:
    """Parse a URL; UsageError, which never repeats the password, if the gateway cannot use it."""
    try:
        found = _read(url)
    except ValueError:
        raise UsageError(
            "The Redis URL is not one: use redis://host:6379/0, rediss://user:password@host:6379, "
            "unix:///path/to/socket, redis+sentinel://host1:26379,host2:26379/MASTER or "
            "redis+cluster://host1:6379,host2:6379."
        ) from None
    _check_options(found)
    return found


def _read(url: str) -> StoreUrl:
    scheme, _, rest = url.partition("://")
    plain, plus, kind = scheme.partition("+")
    if not plus:
        return StoreUrl(Kind.NODE, _one_node(url))
    if plain not in ("redis", "rediss"):
        raise ValueError
    # Newer Pythons refuse the brackets of IPv6 addresses unless they enclose the whole authority.
    authority = _SEPARATOR.split(rest, 1)[0]
    parts = urlsplit(f"{plain}://nodes{rest.removeprefix(authority)}")
    login, at, hosts = authority.rpartition("@")
    query = f"?{parts.query}" if parts.query else ""
    found = [_one_node(f"{plain}://{login}{at}{host}/{query}") for host in hosts.split(",")]
    path = unquote(parts.path.strip("/"))
    tls = plain == "rediss"
    match Kind(plus + kind):
        case Kind.SENTINEL if path and "/" not in path:
            nodes = _addresses(found, SENTINEL_PORT)
            own = {n: found[0].pop(n) for n in SENTINEL_OPTIONS if n in found[0]}
            names = {name.removeprefix("sentinel_"): value for name, value in own.items()}
            return StoreUrl(Kind.SENTINEL, _shared(found), nodes, path, tls, names)
        case Kind.CLUSTER if path in ("", "0") and not found[0].get("db"):
            return StoreUrl(Kind.CLUSTER, _shared(found), _addresses(found, REDIS_PORT), tls=tls)
    raise ValueError


def _one_node(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    found: dict[str, Any] = dict(parse_url(url))
    if not (found.get("path") if parts.scheme == "unix" else parts.hostname):
        raise ValueError
    if parts.scheme != "unix" and (parts.port == 0 or not _DATABASE.fullmatch(parts.path)):
        raise ValueError
    if found.get("password") and not found.get("username"):
        # Otherwise connections differ: of a Redis without passwords, AUTH with a password alone is
        # refused, and HELLO, for which redis-py adds this name, is not.
        found["username"] = "default"
    return found


def _check_options(url: StoreUrl) -> None:
    """Check the options now: redis-py would find a mistake only at the first command, and some of
    its clients accept options that connections do not."""
    given = dict(url.options)
    kind = given.pop("connection_class", SSLConnection if url.tls else Connection)
    try:
        kind(**{"driver_info": None, **given})
    except (TypeError, ValueError, RedisError):
        raise UsageError(
            "Behind '?' in the Redis URL stands what no connection to Redis takes, or not so: db, "
            "client_name, ssl_ca_certs, ssl_certfile and ssl_keyfile are some that are taken."
        ) from None


def _addresses(found: list[dict[str, Any]], port: int) -> tuple[tuple[str, int], ...]:
    return tuple((one["host"], one.get("port", port)) for one in found)


def _shared(found: list[dict[str, Any]]) -> dict[str, Any]:
    own = ("host", "port", "connection_class")
    return {name: value for name, value in found[0].items() if name not in own}
