"""A client for Redis Cluster with the interface that this package needs of a client."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from redis.asyncio import Connection, Redis
from redis.asyncio.cluster import ClusterNode, NodesManager, PipelineCommand, RedisCluster
from redis.cluster import PRIMARY
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.store.connections.named import NamedConnection, NamedTlsConnection, client_of
from gateway.store.connections.urls import StoreUrl

ATTEMPTS = 3
MOST_MASTERS = 10
_LOST = (RedisConnectionError, RedisTimeoutError)
_ELSEWHERE = (AskError, TryAgainError)


class _FreshConnection(NamedConnection):
    """A connection that reconnects if the server closed it meanwhile, as those of redis-py's other
    pools do. Nothing was sent on it, so sending is safe."""

    def should_reconnect(self) -> bool:
        if self._reader is not None and self._reader.at_eof():
            return True
        return bool(super().should_reconnect())  # type: ignore[no-untyped-call]


class _FreshTlsConnection(_FreshConnection, NamedTlsConnection):
    pass


class _Nodes(NodesManager):
    """Survives an answer that names no node, as one gives that was reset or has joined no cluster
    yet: redis-py fails, forgets every node, and could never ask anybody again."""

    __slots__ = ()

    async def initialize(self, *given: Any, **named: Any) -> None:
        known = dict(self.startup_nodes)
        try:
            await super().initialize(*given, **named)
        except IndexError:
            self.startup_nodes = known
            raise RedisClusterException("No node of the cluster holds any slot.") from None


class ClusterClient(RedisCluster):
    """Sends each command to the node of its key, or to the default node without a key.

    It adds what `Redis` has and redis-py's class lacks: connections that are checked before use,
    pipelines that work while a node is away, and `client()`.
    """

    def __init__(self, url: StoreUrl, options: dict[str, Any]) -> None:
        self._made_of = url, options
        nodes = [ClusterNode(host, port) for host, port in url.nodes]
        # One shard that is away is no reason to give up the others.
        whole = {"startup_nodes": nodes, "require_full_coverage": False, "ssl": url.tls}
        super().__init__(**{**whole, **url.options, **options})
        # redis-py makes its own, and takes none.
        self.nodes_manager.__class__ = _Nodes
        self._kind = _FreshTlsConnection if url.tls else _FreshConnection
        self.connection_kwargs["connection_class"] = self._kind
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = self._kind

    async def initialize(self, *given: Any, **named: Any) -> "ClusterClient":
        """Connect. redis-py asks only one master for its commands, alive or not: try the next."""
        for left in reversed(range(MOST_MASTERS)):
            try:
                with self._given_nodes_if_lost():
                    await super().initialize(*given, **named)
                break
            except _LOST:
                known = self.get_primaries()
                if not known or not left:
                    raise
                self.nodes_manager.move_node_to_end_of_cached_nodes(known[0].name)
        return self

    async def find_nodes(self) -> None:
        """Refresh the topology now; RedisClusterException if no node can be asked."""
        with self._given_nodes_if_lost():
            await self.nodes_manager.initialize()

    @contextmanager
    def _given_nodes_if_lost(self) -> Iterator[None]:
        """If no node can be asked, ask those of the URL next time, too: redis-py forgets them once
        it knows the cluster, whose nodes may all have new addresses by now."""
        try:
            yield
        except RedisClusterException:
            for host, port in self._made_of[0].nodes:
                node = ClusterNode(host, port, **self.connection_kwargs)
                self.nodes_manager.startup_nodes.setdefault(node.name, node)
            raise

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        # Done first: before redis-py knows the cluster, it sends commands to any node, even a dead
        # one.
        await self.initialize()
        try:
            return await super().execute_command(*words, **options)
        except KeyError:
            # redis-py means to say so, and does not.
            raise self._nowhere() from None

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """Return a node. A redirection may name one that was added a moment ago and holds no slot
        yet, which redis-py takes for none."""
        known = super().get_node(host, port, node_name)
        if known is not None or not node_name:
            return known
        host, _, number = node_name.rpartition(":")
        return self.node_at(host, int(number))

    def node_at(self, host: str, port: int) -> ClusterNode:
        """Return the node with this address, which may be new."""
        known = super().get_node(host, port)
        if known is not None:
            return known
        new = ClusterNode(host, port, PRIMARY, **self.connection_kwargs)
        self.nodes_manager.set_nodes(self.nodes_manager.nodes_cache, {new.name: new})
        return new

    async def aclose(self) -> None:
        """Close everything, even when the topology is no longer known."""
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")

    def client(self) -> "ClusterClient":
        """Return a client of the same cluster with connections of its own, one per node."""
        url, options = self._made_of
        return ClusterClient(url, {**options, "max_connections": 1})

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        return _Transaction(self) if transaction else _Batch(self)

    def refresh_topology(self) -> None:
        """Refresh the topology before the next command."""
        self._initialize = True

    def owner(self, name: str | bytes) -> ClusterNode:
        """Return the node that holds this name; RedisError if none is known."""
        try:
            return self.nodes_manager.get_node_from_slot(self.keyslot(name))
        except (RedisClusterException, KeyError):
            raise self._nowhere() from None

    def _nowhere(self) -> RedisError:
        self.refresh_topology()
        return RedisError("no node of the cluster is known to hold this name")

    async def send(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        """Send them on one connection. The result of a command without a reply is the error."""
        try:
            await node.execute_pipeline(commands)
        except (RedisError, OSError) as problem:
            for command in commands:
                command.result = problem
        if any(isinstance(command.result, (*_LOST, OSError)) for command in commands):
            self.refresh_topology()

    def connection_to(self, host: str, port: int) -> Connection:
        """Return a new connection, not yet connected."""
        url, options = self._made_of
        return self._kind(host=host, port=port, **{**url.options, **options})

    @asynccontextmanager
    async def masters(self) -> AsyncIterator[dict[str, Redis]]:
        """Yield a client for each node that takes writes now, by its address."""
        await self.initialize()
        await self.find_nodes()
        url, options = self._made_of
        clients = {
            str(node.name): client_of(
                str(node.host), int(node.port), tls=url.tls, **{**url.options, **options}
            )
            for node in self.get_primaries()
        }
        try:
            yield clients
        finally:
            await asyncio.gather(*(client.aclose() for client in clients.values()))


class _Batch:
    """Commands with their name as first argument, in one round trip per node. redis-py's own
    pipeline loses the replies of all nodes if one is away."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._commands: list[PipelineCommand] = []

    def execute_command(self, *words: Any, **options: Any) -> None:
        self._commands.append(PipelineCommand(len(self._commands), *words, **options))

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Return the replies. A failed command has its error in place of a reply, or raises it."""
        await self._cluster.initialize()
        by_node: dict[ClusterNode, list[PipelineCommand]] = {}
        for command in self._commands:
            try:
                by_node.setdefault(self._cluster.owner(command.args[1]), []).append(command)
            except RedisError as nowhere:
                command.result = nowhere
        parts = by_node.items()
        await asyncio.gather(*(self._cluster.send(node, part) for node, part in parts))
        for command in self._commands:
            if isinstance(command.result, _ELSEWHERE):
                await self._follow(command)
            if raise_on_error and isinstance(command.result, Exception):
                raise command.result
        return [command.result for command in self._commands]

    async def _follow(self, command: PipelineCommand) -> None:
        try:
            asked = self._cluster.execute_command(*command.args, **command.kwargs)
            command.result = await asked
        except (RedisError, RedisClusterException, OSError) as problem:
            command.result = problem


class _Transaction:
    """Commands on names of one slot, all or none. Parts of redis-py's own run in another loop."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._words: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> None:
        self._words.append(words)

    async def execute(self) -> list[Any]:
        asked: AskError | None = None
        for _ in range(ATTEMPTS):
            answers = await self._run(asked)
            ended = answers[-1]
            if isinstance(ended, list):
                answers += ended
            refused = next((one for one in answers if isinstance(one, Exception)), None)
            if refused is None:
                return list(ended)
            # Refused while it was queued, so nothing ran.
            if isinstance(refused, MovedError):
                # The other nodes may not know of it yet.
                await self._cluster.nodes_manager.move_slot(refused)
                asked = None
            elif isinstance(refused, AskError):
                asked = refused
            else:
                raise refused
        raise refused or RedisError("the cluster does not settle")

    async def _run(self, asked: AskError | None) -> list[Any]:
        await self._cluster.initialize()
        whole = [("MULTI",), *self._words, ("EXEC",)]
        node = self._cluster.owner(self._words[0][1])
        if asked is not None:
            # It has the names, and not yet the slot. It takes what is queued for asked, too.
            whole = [("ASKING",), *whole]
            node = self._cluster.node_at(asked.host, asked.port)
        commands = [PipelineCommand(at, *words) for at, words in enumerate(whole)]
        await self._cluster.send(node, commands)
        return [command.result for command in commands]


@asynccontextmanager
async def cluster_client(url: StoreUrl, options: dict[str, Any]) -> AsyncIterator[Redis]:
    """Yield a client that is not a `Redis`, but does all that this package asks of one."""
    client = ClusterClient(url, options)
    try:
        yield cast(Redis, client)
    finally:
        await client.aclose()
