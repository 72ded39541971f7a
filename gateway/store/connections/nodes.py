"""The nodes behind a client: those of its cluster, or the only one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from gateway.store.connections.cluster import ClusterClient


@asynccontextmanager
async def masters(client: Redis) -> AsyncIterator[dict[str, Redis]]:
    """Yield a client for each node that holds keys, by address; '' if there is only one."""
    cluster: object = client
    if isinstance(cluster, ClusterClient):
        async with cluster.masters() as clients:
            yield clients
    else:
        yield {"": client}


async def holders(client: Redis, names: list[str]) -> list[Any]:
    """Return a client, with `execute_command`, of each node that holds one of these names."""
    cluster: object = client
    if not isinstance(cluster, ClusterClient):
        return [client]
    await cluster.initialize()
    nodes = [cluster.get_node_from_key(name) for name in names]
    return list({node.name: node for node in nodes if node is not None}.values())
