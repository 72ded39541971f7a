"""Several worker processes on a cluster and behind sentinels: one truth, before and after a master
dies."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.domain.errors import UnreachableError
from gateway.domain.settings import StoreSettings
from gateway.store.connections.connect import open_store
from gateway.store.connections.slots import slot_of
from gateway.store.keys import KeyStore
from gateway.store.workers import WorkerStore
from tests.awake import awake
from tests.cli.crews import Crew, crew, issue, slow_agent
from tests.flows.clusters import ClusterStore, cluster_store
from tests.flows.nodes import PATIENCE
from tests.flows.sentinels import WatchedStore, watched_store
from tests.flows.world import PEPPER

WORKERS = 2
RECOVERY = 5.0


@dataclass
class Fleet:
    """`operator`: where the commands find the store."""

    store: ClusterStore | WatchedStore
    operator: StoreSettings
    crew: Crew
    key: str
    key_id: str

    async def lose_the_master(self) -> None:
        """Kill the one that decides on the key, and wait until there is another."""
        if isinstance(self.store, ClusterStore):
            slot = slot_of(self.key_id)
            master = await self.store.holder(slot)
            master.kill()
            await self.store.take_over(slot, master)
        else:
            master = await self.store.master()
            master.kill()
            await self.store.announced(other_than=master)

    async def statuses(self, times: int) -> list[int]:
        """Each worker is asked so often, on connections that it has had before."""
        return [
            (await connection.get("/agents/a/quick", self.key)).status
            for connection in self.connections
            for _ in range(times)
        ]

    async def connect(self) -> None:
        self.connections = [await self.crew.connect_to(pid) for pid in self.crew.pids]


@pytest.fixture(params=["cluster", "sentinel"])
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        store: ClusterStore | WatchedStore
        if request.param == "cluster":
            store = await stack.enter_async_context(cluster_store())
            operator = store.operator
        else:
            store = await stack.enter_async_context(watched_store())
            operator = store.settings
        agent = await stack.enter_async_context(slow_agent())
        (tmp_path / "policies").mkdir()
        policy = f"version: 1\nagents: {{a: {{upstream: 'http://127.0.0.1:{agent.port}'}}}}\n"
        (tmp_path / "policies" / "p.yaml").write_text(policy)
        key = await issue(store.client)
        settings = {
            "GATEWAY_REDIS_URL": store.settings.url or "",
            "GATEWAY_PEPPER": base64.b64encode(PEPPER).decode(),
        }
        opened = crew("--log-format", "json", workers=WORKERS, folder=tmp_path, settings=settings)
        made = await stack.enter_async_context(opened)
        yield Fleet(store, operator, made, key.text, key.id)


async def revoked(keys: KeyStore, key_id: str) -> str:
    """As an operator does it, who tries again while sentinels do not answer in time."""
    while True:
        try:
            return await keys.set_status(key_id, "revoked")
        except UnreachableError:
            await asyncio.sleep(0.1)


async def test_all_workers_follow_a_new_master_and_hear_of_what_is_changed_there(
    fleet: Fleet,
) -> None:
    await fleet.connect()
    assert set(await fleet.statuses(20)) == {200}
    await fleet.lose_the_master()
    with awake() as passed:
        while set(told := await fleet.statuses(2)) != {200}:
            assert set(told) <= {200, 503}
            assert passed() < RECOVERY
    async with open_store(fleet.operator) as client, asyncio.timeout(PATIENCE):
        assert await revoked(KeyStore(client, "gw:"), fleet.key_id) == "done"
    assert set(await fleet.statuses(50)) == {401}


async def test_every_worker_is_heard_of(fleet: Fleet) -> None:
    async with open_store(fleet.operator) as client, asyncio.timeout(PATIENCE):
        workers = WorkerStore(client, "gw:")
        while {worker.pid for worker in await workers.all()} != set(fleet.crew.pids):
            await asyncio.sleep(0.1)
