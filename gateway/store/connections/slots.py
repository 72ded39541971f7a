"""The hot path to Redis Cluster: one multiplexed connection per master; each call goes by its key's
slot.

redis-py tracks the topology and makes the connections. A call whose reply proves that nothing ran
is repeated where the reply points; any other call that was written and failed is not.
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from gateway.domain.errors import StoreError
from gateway.log import log
from gateway.store.connections.cluster import ClusterClient
from gateway.store.connections.failures import reason_of
from gateway.store.connections.line import ReplyError
from gateway.store.connections.multiplex import Multiplexer
from gateway.tasks import Tasks, cancel_and_wait, unending
from gateway.timers import timeout, timeout_at

SLOTS = 16384
# Between two refreshes of the topology, however many calls ask for one: each costs about 10 ms.
LOOK_PAUSE, LONGEST_PAUSE = 0.25, 1.0
# Between two attempts of a call while a slot moves or the cluster has not settled.
AGAIN_PAUSE = 0.02
# The node refused before it ran the command: it or another node may take it in a moment.
_NOT_YET = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN")


class ClusterLines:
    """`cluster` belongs to this object from now on. `prepare`, `timeout`: as in Multiplexer."""

    def __init__(
        self, cluster: ClusterClient, *, timeout: float, prepare: tuple[bytes, ...]
    ) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._prepare = prepare
        self._loop = asyncio.get_running_loop()
        self._patient_until = self._loop.time() + timeout
        self._nodes: dict[str, Multiplexer] = {}
        self._owners: list[Multiplexer | None] = [None] * SLOTS
        self._known = asyncio.Event()
        self._stale = asyncio.Event()
        self._stale.set()
        self._tasks = Tasks()
        self._refreshing = unending(self._refresh_topology)

    def call(self, command: bytes, key_id: str) -> Awaitable[Any]:
        owner = self._owners[slot_of(key_id)]
        return self._call_later(command, key_id) if owner is None else owner.call(command)

    async def repeat(self, error: ReplyError, command: bytes, key_id: str) -> Any:
        try:
            async with timeout_at(error.deadline):
                return await self._repeat(error, command, slot_of(key_id))
        except TimeoutError:
            raise StoreError("Redis did not answer in time.") from None

    def post(self, command: bytes, key_id: str) -> None:
        self._tasks.begin(self._deliver(self.call(command, key_id), command, key_id))

    def flush(self, key_id: str) -> None:
        owner = self._owners[slot_of(key_id)]
        if owner is not None:
            owner.flush(key_id)

    async def ping(self) -> None:
        """Raise StoreError unless one node answers. One is enough: only the keys of the other nodes
        are refused, and there is no better place to send them."""
        await self._await_topology()
        nodes = list(self._nodes.values())
        answers = await asyncio.gather(*(node.ping() for node in nodes), return_exceptions=True)
        if all(isinstance(answer, BaseException) for answer in answers):
            raise StoreError("No node of the cluster is reachable.")

    async def close(self) -> None:
        await cancel_and_wait(self._refreshing)
        # Let the last posted commands go out, such as leases that are given back.
        await self._tasks.finish(self._timeout)
        nodes, self._nodes, self._owners = self._nodes, {}, [None] * SLOTS
        await asyncio.gather(*(node.close() for node in nodes.values()))
        await self._cluster.aclose()

    async def _call_later(self, command: bytes, key_id: str) -> Any:
        """Call before the topology is known, or while no node holds this slot."""
        self._stale.set()
        await self._await_topology()
        return await self._owner(slot_of(key_id)).call(command)

    async def _await_topology(self) -> None:
        """Wait for the first topology until `timeout` after the start, and not at all later."""
        # A timer for a time that is long past would take all of it for a stall, and give a grace.
        left = max(0.0, self._patient_until - self._loop.time())
        with suppress(TimeoutError):
            async with timeout(left):
                await self._known.wait()

    def _owner(self, slot: int) -> Multiplexer:
        owner = self._owners[slot]
        if owner is None:
            raise StoreError("No node of the cluster is known to hold this key.")
        return owner

    async def _repeat(self, error: ReplyError, command: bytes, slot: int) -> Any:
        attempts = 0
        while True:
            if attempts > 1:
                # Two nodes may redirect callers to each other until they have agreed.
                await asyncio.sleep(AGAIN_PAUSE)
            attempts += 1
            call = await self._elsewhere(error, slot)
            try:
                return await call(command)
            except ReplyError as again:
                error = again

    async def _elsewhere(self, error: ReplyError, slot: int) -> Any:
        """Return the call to repeat a command with after `error`; raise it if that may have run."""
        place = str(error).rpartition(" ")[2]
        host, _, port = place.rpartition(":")
        if error.kind == "NOSCRIPT":
            return self._owner(slot).call
        if error.kind == "ASK" and host:
            return self._node(host, int(port)).call_asking
        if error.kind == "MOVED":
            self._stale.set()
            if host:
                self._owners[slot] = self._node(host, int(port))
                return self._owner(slot).call
        elif error.kind not in _NOT_YET:
            raise error
        self._stale.set()
        await asyncio.sleep(AGAIN_PAUSE)
        return self._owner(slot).call

    def _node(self, host: str, port: int) -> Multiplexer:
        name = f"{host}:{port}"
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = Multiplexer(
                lambda: self._cluster.connection_to(host, port),
                timeout=self._timeout,
                prepare=self._prepare,
                on_lost=self._stale.set,
            )
        return node

    async def _deliver(self, sent: Awaitable[Any], command: bytes, key_id: str) -> None:
        with suppress(StoreError):
            try:
                await sent
            except ReplyError as error:
                await self.repeat(error, command, key_id)

    async def _refresh_topology(self) -> None:
        """Refresh the topology whenever a node is lost or redirects a call."""
        reported = False
        pause = LOOK_PAUSE
        while True:
            if not self._stale.is_set():
                pause = LOOK_PAUSE
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._cluster.find_nodes()
                self._apply_topology()
                reported = False
            except (RedisClusterException, RedisError, OSError) as problem:
                self._stale.set()
                if not reported:
                    log.warning("store_topology_unknown", reason=reason_of(problem))
                reported = True
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    def _apply_topology(self) -> None:
        slots = self._cluster.nodes_manager.slots_cache
        owners: list[Multiplexer | None] = [None] * SLOTS
        named: dict[str, Multiplexer] = {}
        for slot, nodes in slots.items():
            master = nodes[0]
            node = named.get(master.name)
            if node is None:
                node = named[master.name] = self._node(master.host, int(master.port))
            owners[slot] = node
        self._owners = owners
        in_use = set(owners)
        for name, node in list(self._nodes.items()):
            if node not in in_use:
                del self._nodes[name]
                self._tasks.begin(self._retire(node))
        self._known.set()

    async def _retire(self, node: Multiplexer) -> None:
        """Close a node that holds no slot any more, once its calls are answered or late."""
        try:
            await asyncio.sleep(self._timeout)
        finally:
            await node.close()


def slot_of(key_id: str) -> int:
    """Return the slot of every name with `{key_id}` in it."""
    return crc_hqx(key_id.encode(), 0) % SLOTS
