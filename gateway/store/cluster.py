"""A client for Redis Cluster with what this package asks of a client for one Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.store.urls import StoreUrl

ATTEMPTS = 3
_LOST = (RedisConnectionError, RedisTimeoutError)


class _FreshConnection(Connection):
    """One that the server has closed meanwhile is made anew, as in redis-py's other pools: what
    was not sent may be sent."""

    def should_reconnect(self) -> bool:
        if self._reader is not None and self._reader.at_eof():
            return True
        return bool(super().should_reconnect())  # type: ignore[no-untyped-call]


class _FreshTlsConnection(_FreshConnection, SSLConnection):
    pass


class ClusterClient(RedisCluster):
    """Asks each key's own node, and the default node where no key is named.

    What `Redis` has and redis-py's class lacks: connections that are looked at before they are
    used, a pipeline after whose failure the cluster is looked at anew, and `client()`.
    """

    def __init__(self, url: StoreUrl, options: dict[str, Any]) -> None:
        self._made_of = url, options
        nodes = [ClusterNode(host, port) for host, port in url.nodes]
        # One shard that is away is no reason to give up the others.
        whole = {"startup_nodes": nodes, "require_full_coverage": False, "ssl": url.tls}
        super().__init__(**{**whole, **url.options, **options})
        self._kind = _FreshTlsConnection if url.tls else _FreshConnection
        self.connection_kwargs["connection_class"] = self._kind
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = self._kind

    async def aclose(self) -> None:
        """Everything, where nothing is known of the cluster any more, too."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    def client(self) -> "ClusterClient":
        """The same cluster on connections of its own, one a node."""
        url, options = self._made_of
        return ClusterClient(url, {**options, "max_connections": 1})

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        if transaction:
            return _Transaction(self)
        return _Pipeline(self)  # type: ignore[abstract]

    def look_anew(self) -> None:
        """Ask for the topology before the next command."""
        self._initialize = True

    def connection_to(self, host: str, port: int) -> Connection:
        """A new one, not yet connected."""
        url, options = self._made_of
        return self._kind(host=host, port=port, **{**url.options, **options})

    @asynccontextmanager
    async def masters(self) -> AsyncIterator[dict[str, Redis]]:
        """A client for each node that takes writes now, by its address."""
        await self.initialize()
        await self.nodes_manager.initialize()
        url, options = self._made_of
        clients = {
            str(node.name): Redis(
                host=node.host, port=int(node.port), ssl=url.tls, **{**url.options, **options}
            )
            for node in self.get_primaries()
        }
        try:
            yield clients
        finally:
            await asyncio.gather(*(client.aclose() for client in clients.values()))


class _Pipeline(ClusterPipeline):
    async def execute(
        self, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        try:
            answers = await super().execute(raise_on_error, allow_redirections)
        except _LOST:
            self._look_anew()
            raise
        if any(isinstance(answer, _LOST) for answer in answers):
            self._look_anew()
        return answers

    def _look_anew(self) -> None:
        cast(ClusterClient, self.cluster_client).look_anew()


class _Transaction:
    """Commands on names of one slot, all of them or none. redis-py's own runs parts of it in an
    event loop of its own."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._words: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self._words.append(words)

    async def execute(self) -> list[Any]:
        for _ in range(ATTEMPTS):
            answers = await self._run()
            ended = answers[-1]
            if isinstance(ended, list):
                answers += ended
            refused = next((one for one in answers if isinstance(one, Exception)), None)
            if refused is None:
                return list(ended)
            if not isinstance(refused, MovedError):
                raise refused
            # Refused while it was queued: nothing of it ran.
            self._cluster.look_anew()
        raise refused or RedisError("the cluster does not settle")

    async def _run(self) -> list[Any]:
        await self._cluster.initialize()
        node = self._cluster.get_node_from_key(self._words[0][1])
        if node is None:
            raise RedisError("no node holds this name")
        whole = [("MULTI",), *self._words, ("EXEC",)]
        commands = [PipelineCommand(at, *words) for at, words in enumerate(whole)]
        try:
            await node.execute_pipeline(commands)
        except _LOST:
            self._cluster.look_anew()
            raise
        if any(isinstance(command.result, _LOST) for command in commands):
            self._cluster.look_anew()
        return [command.result for command in commands]


@asynccontextmanager
async def cluster_client(url: StoreUrl, options: dict[str, Any]) -> AsyncIterator[Redis]:
    """Not a `Redis`, but it does all that this package asks of one."""
    client = ClusterClient(url, options)
    try:
        yield cast(Redis, client)
    finally:
        await client.aclose()


@asynccontextmanager
async def masters(client: Redis) -> AsyncIterator[dict[str, Redis]]:
    """A client for each node that holds keys, by its address; '' where there is one only."""
    cluster: object = client
    if isinstance(cluster, ClusterClient):
        async with cluster.masters() as clients:
            yield clients
    else:
        yield {"": client}


async def holders(client: Redis, names: list[str]) -> list[Any]:
    """What answers `execute_command` for each of the nodes that hold one of these names."""
    cluster: object = client
    if not isinstance(cluster, ClusterClient):
        return [client]
    await cluster.initialize()
    nodes = [cluster.get_node_from_key(name) for name in names]
    return list({node.name: node for node in nodes if node is not None}.values())
