"""A master, its replicas and three sentinels that watch them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import open_store
from tests.flows.nodes import DATA, PASSWORD, PATIENCE, Node, start_node

MASTER = "main"
DOWN_AFTER_MS = 500

SENTINEL = """
sentinel monitor {name} 127.0.0.1 {port} 2
sentinel auth-pass {name} {password}
sentinel down-after-milliseconds {name} {down}
sentinel failover-timeout {name} 3000
requirepass {password}
sentinel sentinel-pass {password}
"""


class WatchedStore:
    """`client` follows the master, as the gateway does."""

    def __init__(self, data: list[Node], sentinels: list[Node], settings: StoreSettings) -> None:
        self.data = data
        self.sentinels = sentinels
        self.settings = settings
        self.client: Redis

    async def master(self) -> Node:
        """Whom most of the sentinels call so."""
        said = [await self._master_by(one) for one in self.sentinels]
        port = max(set(said), key=said.count)
        return next(node for node in self.data if node.port == port)

    async def _master_by(self, sentinel: Node) -> int:
        if sentinel.process.poll() is not None:
            return 0
        address = await sentinel.client.execute_command(
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER
        )
        return int(address[1])

    async def announced(self, other_than: Node) -> Node:
        """Another master, as soon as the sentinels name one."""
        async with asyncio.timeout(PATIENCE):
            while (found := await self.master()) is other_than:
                await asyncio.sleep(0.02)
        return found

    async def in_failover(self) -> bool:
        """Whether a sentinel leads one."""
        told = [
            await one.client.execute_command("SENTINEL", "MASTER", MASTER) for one in self.sentinels
        ]
        return any("failover_in_progress" in state["flags"] for state in told)

    async def ready(self) -> None:
        """The sentinels know each other and the replicas, which have all of the data."""
        async with asyncio.timeout(PATIENCE):
            for sentinel in self.sentinels:
                while not await self._knows_all(sentinel):
                    await asyncio.sleep(0.05)

    async def _knows_all(self, sentinel: Node) -> bool:
        told = await sentinel.client.execute_command("SENTINEL", "MASTER", MASTER)
        others = int(told["num-other-sentinels"]), int(told["num-slaves"])
        infos = [await one.client.info("replication") for one in self.data[1:]]
        up = all(info["master_link_status"] == "up" for info in infos)
        return others == (2, len(infos)) and up


@asynccontextmanager
async def watched_store(replicas: int = 1) -> AsyncIterator[WatchedStore]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        async def start(name: str, **how: object) -> Node:
            node = await start_node(folder / name, **how)  # type: ignore[arg-type]
            stack.push_async_callback(node.close)
            return node

        first = await start("a", options=DATA)
        follow = {**DATA, "--replicaof": f"127.0.0.1 {first.port}"}
        data = [first, *[await start(f"b{i}", options=follow) for i in range(replicas)]]
        config = SENTINEL.format(
            name=MASTER, port=first.port, password=PASSWORD, down=DOWN_AFTER_MS
        )
        sentinels = [await start(f"s{i}", config=config, extra=("--sentinel",)) for i in range(3)]
        places = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
        url = f"redis+sentinel://:{PASSWORD}@{places}/{MASTER}?sentinel_password={PASSWORD}"
        store = WatchedStore(data, sentinels, StoreSettings(url=url, state_dir=folder / "state"))
        await store.ready()
        store.client = await stack.enter_async_context(open_store(store.settings))
        yield store
