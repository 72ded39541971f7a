"""One raw command to the store in use, as redis-cli would send it."""

from typing import Any

from redis.asyncio import Connection
from redis.exceptions import AskError, MovedError, RedisError

from gateway.domain.settings import StoreSettings
from gateway.store.connections.cluster import ClusterClient
from gateway.store.connections.connect import cluster_of, connections

# Two nodes that redirect a command to each other will agree later, or never.
MOST_REDIRECTIONS = 5


async def ask(settings: StoreSettings, words: list[bytes]) -> Any:
    """Return the raw reply; redis-py's errors are raised unchanged. In a cluster the command goes
    to its key's node; without a key, to the first reachable node of the URL."""
    cluster = cluster_of(settings)
    if cluster is not None:
        return await _ask_cluster(cluster, words)
    async with connections(settings) as connect:
        connection = connect()
        try:
            await connection.connect()
            return await _send(connection, *words)
        finally:
            await connection.disconnect()


async def _ask_cluster(cluster: ClusterClient, words: list[bytes]) -> Any:
    connection = await _first_reachable(cluster)
    try:
        for _ in range(MOST_REDIRECTIONS):
            try:
                return await _send(connection, *words)
            except AskError as elsewhere:
                await connection.disconnect()
                host = elsewhere.host or connection.host
                connection = cluster.connection_to(host, elsewhere.port)
                await connection.connect()
                if not isinstance(elsewhere, MovedError):
                    await _send(connection, b"ASKING")
    finally:
        await connection.disconnect()
    raise RedisError("the nodes of the cluster send it to and fro")


async def _first_reachable(cluster: ClusterClient) -> Connection:
    lost: Exception | None = None
    for node in cluster.startup_nodes:
        connection = cluster.connection_to(node.host, int(node.port))
        try:
            await connection.connect()
        except (RedisError, OSError) as problem:
            lost = problem
        else:
            return connection
    raise lost or RedisError("no node is named")


async def _send(connection: Connection, *words: bytes) -> Any:
    await connection.send_command(*words)
    return await connection.read_response(disable_decoding=True)
