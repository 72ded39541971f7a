"""A Redis Cluster on loopback: three masters, each with a replica."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.domain.keys.key import Key
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import open_store
from gateway.store.connections.slots import SLOTS, slot_of
from tests.flows.nodes import DATA, PASSWORD, PATIENCE, Node, start_node

USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
# With a second they form in one. Afterwards no node takes a stall of the machine for the death of
# another.
NODE_TIMEOUT_MS = 1000
PATIENT_MS = 60_000
CLUSTER = {
    **DATA,
    "--cluster-enabled": "yes",
    "--cluster-config-file": "nodes.conf",
    "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
    "--cluster-port": "{bus}",
    # A replica takes over when a test says so, not after a stall of the machine.
    "--cluster-replica-no-failover": "yes",
}


class ClusterStore:
    """`settings` are the gateway's, `operator` those of the commands; both have no more rights than
    they need. `client` is the operator's."""

    def __init__(self, nodes: list[Node], folder: Path) -> None:
        self.nodes = nodes
        places = ",".join(f"127.0.0.1:{node.port}" for node in (nodes[0], nodes[4]))

        def settings(user: str) -> StoreSettings:
            url = f"redis+cluster://{user}:{PASSWORD}@{places}"
            return StoreSettings(url=url, state_dir=folder / "state")

        self.settings, self.operator = settings("gateway"), settings("operator")
        self.root = settings("")
        self.client: Redis
        self.ids: dict[int, str] = {}

    async def form(self) -> None:
        """Three masters with a third of the slots each, and the others follow them."""
        for epoch, node in enumerate(self.nodes, 1):
            self.ids[node.port] = await run(node, "CLUSTER", "MYID")
            await run(node, "CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for i, node in enumerate(self.nodes[:3]):
            first, last = i * SLOTS // 3, (i + 1) * SLOTS // 3 - 1
            await run(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        await self._introduce(*self.nodes[1:])
        for master, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            await run(replica, "CLUSTER", "REPLICATE", self.ids[master.port])
        await self._until(self._all_well)
        for node in self.nodes:
            await _let_in(node)
            await run(node, "CONFIG", "SET", "cluster-node-timeout", PATIENT_MS)

    async def take_in(self, node: Node) -> None:
        """One more, without slots."""
        await _let_in(node)
        self.ids[node.port] = await run(node, "CLUSTER", "MYID")
        self.nodes.append(node)
        await self._introduce(node)

        async def well() -> bool:
            return "cluster_state:ok" in await run(node, "CLUSTER", "INFO")

        await self._until(well)

    async def _introduce(self, *new: Node) -> None:
        """Have them meet the first node, and again each few seconds: a handshake that a stall
        interrupted is forgotten."""
        port, bus = self.nodes[0].port, await self._bus(self.nodes[0])
        async with asyncio.timeout(PATIENCE):
            for look in count():
                if look % 100 == 0:
                    for node in new:
                        await run(node, "CLUSTER", "MEET", "127.0.0.1", port, bus)
                if await self._all_meet():
                    return
                await asyncio.sleep(0.05)

    async def master_of(self, key: Key) -> Node:
        """Who holds this key's slot, by what the first living node says."""
        return await self.holder(slot_of(key.id))

    async def holder(self, slot: int) -> Node:
        port = await self._owner(slot)
        return next(node for node in self.nodes if node.port == port)

    async def take_over(self, slot: int, gone: Node) -> None:
        """The replica of a master that is gone takes its place, as after an election, and every
        living node says so of the slot."""
        replica = self.nodes[self.nodes.index(gone) + 3]
        await run(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        async with asyncio.timeout(PATIENCE):
            for node in self._living():
                while await self._owner(slot, node) == gone.port:
                    await asyncio.sleep(0.02)

    async def move(self, slot: int, source: Node, target: Node, pause: float = 0.0) -> None:
        """As redis-cli --cluster reshard does it, one key after the other."""
        there, here = self.ids[target.port], self.ids[source.port]
        await run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        await run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        await asyncio.sleep(pause)
        while names := await run(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            for name in names:
                where = ("127.0.0.1", target.port, name, 0, 5000, "AUTH", PASSWORD)
                await run(source, "MIGRATE", *where)
                await asyncio.sleep(pause)
        for node in (target, source, *self._living()):
            try:
                await run(node, "CLUSTER", "SETSLOT", slot, "NODE", there)
            except ResponseError as refused:
                # Replicas are told by their masters, and one that was emptied becomes a replica.
                assert "only with masters" in str(refused), refused

    def _living(self) -> list[Node]:
        return [node for node in self.nodes if node.process.poll() is None and not node.frozen]

    async def _owner(self, slot: int, node: Node | None = None) -> int:
        ranges = await run(node or self._living()[0], "CLUSTER", "SLOTS")
        return next(int(r[2][1]) for r in ranges if r[0] <= slot <= r[1])

    async def _bus(self, node: Node) -> int:
        told = await run(node, "CLUSTER", "MYID"), await run(node, "CLUSTER", "NODES")
        line = next(line for line in told[1].splitlines() if line.startswith(told[0]))
        return int(line.split()[1].partition("@")[2].partition(",")[0])

    async def _all_meet(self) -> bool:
        lines = [await run(node, "CLUSTER", "NODES") for node in self.nodes]
        return all(
            text.count("\n") == len(self.nodes) and "handshake" not in text for text in lines
        )

    async def _all_well(self) -> bool:
        for node in self.nodes:
            if "cluster_state:ok" not in await run(node, "CLUSTER", "INFO"):
                return False
        for node in self.nodes[3:]:
            told = await node.client.info("replication")
            if told["role"] != "slave" or told["master_link_status"] != "up":
                return False
        text = await run(self.nodes[0], "CLUSTER", "SLOTS")
        return len(text) == 3 and all(len(part) == 4 for part in text)

    async def _until(self, well: object) -> None:
        assert callable(well)
        async with asyncio.timeout(PATIENCE):
            while not await well():
                await asyncio.sleep(0.05)


async def _let_in(node: Node) -> None:
    """The users of the gateway and of operators."""
    for line in USERS.read_text().splitlines():
        _, user, *rules = _rules(line)
        if user in ("gateway", "operator"):
            await run(node, "ACL", "SETUSER", user, *rules, f">{PASSWORD}")


def _rules(line: str) -> list[str]:
    """What stands in brackets is one rule."""
    return re.findall(r"\([^)]*\)|\S+", line)


async def run(node: Node, *words: object) -> Any:
    """The plain answer: redis-py's own reading of them differs from command to command."""
    connection = await node.client.connection_pool.get_connection()
    try:
        await connection.send_command(*words)
        return await connection.read_response()
    finally:
        await node.client.connection_pool.release(connection)


@asynccontextmanager
async def cluster_store() -> AsyncIterator[ClusterStore]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        nodes = []
        for i in range(6):
            node = await start_node(folder / f"n{i}", CLUSTER)
            stack.push_async_callback(node.close)
            nodes.append(node)
        store = ClusterStore(nodes, folder)
        await store.form()
        store.client = await stack.enter_async_context(open_store(store.operator))
        yield store
