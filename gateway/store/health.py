"""The state of the Redis in use, for operators, measured from here."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from redis.asyncio import Redis

from gateway.store.commands import as_answer, ask_all, value_or_none
from gateway.store.connections.connect import judge
from gateway.store.connections.failures import translated
from gateway.store.connections.nodes import masters
from gateway.store.connections.scan import scan

ROUNDS = 21
# The Redis user of a connection that gives no name.
EVERYBODY = "default"
# Fields of INFO about the disk, and what it means if they are not "ok".
_WRITES = {
    "aof_last_write_status": (
        "Redis could not write its append-only file, and refuses writes until it can: give it disk "
        "space."
    ),
    "rdb_last_bgsave_status": (
        "Redis could not save its last snapshot, and refuses writes where it is to save any: give "
        "it disk space, or say 'CONFIG SET save \"\"' where it has an append-only file."
    ),
}


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """`node`: its address, if there are several. `warnings`: a sentence each. `latency`: of one
    round trip, in seconds, the median.

    `memory_share`: of its maxmemory; 0 if that is unlimited. `user`: the gateway's Redis user.
    `over_network`: whether other machines could reach it too.

    `clock_ahead`: seconds by which Redis' clock is ahead of this machine's, not counting the
    uncertainty of the round trip.
    """

    node: str
    server: str
    is_replica: bool
    append_only: bool
    eviction: str
    warnings: tuple[str, ...]
    latency: float
    clock_ahead: float
    memory_share: float
    user: str
    over_network: bool


async def health(client: Redis, clock: Callable[[], float]) -> list[StoreHealth]:
    """Return the health of each node that holds keys. StoreError if one cannot answer;
    OperationError if one is too old to use."""
    with translated():
        async with masters(client) as nodes:
            return [await _health(address, node, clock) for address, node in nodes.items()]


async def _health(address: str, node: Redis, clock: Callable[[], float]) -> StoreHealth:
    info = await node.info()
    warnings = judge(info, address)
    latency, ahead = await _measured(node, clock)
    reached = node.connection_pool.connection_kwargs
    if address:
        warnings = (*warnings, *await _cluster_warnings(node))
    unwritten = (sentence for field, sentence in _WRITES.items() if info.get(field, "ok") != "ok")
    warnings = (*warnings, *unwritten)
    return StoreHealth(
        node=address,
        server=_server(info),
        is_replica=info.get("role") == "slave",
        append_only=bool(info.get("aof_enabled", 0)),
        eviction=str(info.get("maxmemory_policy", "")),
        warnings=warnings,
        latency=latency,
        clock_ahead=ahead,
        memory_share=int(info.get("used_memory", 0)) / (int(info.get("maxmemory", 0)) or inf),
        user=reached.get("username") or EVERYBODY,
        over_network="path" not in reached,
    )


async def _cluster_warnings(node: Redis) -> list[str]:
    cluster = await node.execute_command("CLUSTER INFO")
    if cluster["cluster_state"] == "ok":
        return []
    return [
        "For this node the cluster is not whole: 'redis-cli --cluster check' says what is gone."
    ]


def _server(info: Mapping[str, Any]) -> str:
    """Return name and version. Valkey also reports the Redis version it is compatible with."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '')}"


async def _measured(client: Redis, clock: Callable[[], float]) -> tuple[float, float]:
    took: list[float] = []
    ahead: list[float] = []
    for _ in range(ROUNDS):
        before = clock()
        began = time.perf_counter()
        seconds, micros = await client.time()
        took.append(time.perf_counter() - began)
        there = int(seconds) + int(micros) / 1e6
        # Redis read its clock at some moment in between: only what lies outside is a difference.
        ahead.append(min(there - before, 0.0) or max(there - before - took[-1], 0.0))
    return median(took), min(ahead, key=abs)


async def hashless(client: Redis, prefix: str) -> list[str]:
    """Return names of key records that hold no hash: they are nobody's key. StoreError if this
    login may not look at them."""
    found: set[str] = set()
    async for names in scan(client, f"{prefix}key:*"):
        lengths = await ask_all(client, [("HSTRLEN", name, "hash") for name in names])
        # Asked last: a record that was deleted meanwhile must not count as one without a hash.
        there = await ask_all(client, [("EXISTS", name) for name in names])
        for name, length, exists in zip(names, lengths, there, strict=True):
            if as_answer(exists) and not value_or_none(length):
                found.add(name.decode(errors="replace"))
    return sorted(found)
