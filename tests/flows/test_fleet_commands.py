"""Every command works on a cluster and behind sentinels, as the operator with the least rights."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.policies.snapshot import Policies
from gateway.domain.settings import StoreSettings
from gateway.domain.workers import WorkerRecord
from gateway.services.policies.orphans import orphans
from gateway.store.connections.connect import open_store
from gateway.store.keys import KeyStore
from gateway.store.workers import WorkerStore
from tests.cli.commands import Commands, Ended
from tests.flows.clusters import cluster_store
from tests.flows.sentinels import watched_store
from tests.phc import PHC

COUNT = 12


@dataclass
class Operator:
    """`settings` None: as the commands have them."""

    commands: Commands
    gateway: StoreSettings

    async def run(self, *words: str) -> Ended:
        return await asyncio.to_thread(self.commands.gateway, *words)

    async def json(self, *words: str) -> Any:
        ended = await self.run(*words, "--json")
        assert ended.code == 0, ended.said
        return ended.json


@pytest.fixture(params=["cluster", "sentinel"])
async def operator(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Operator]:
    async with AsyncExitStack() as stack:
        if request.param == "cluster":
            cluster = await stack.enter_async_context(cluster_store())
            yield Operator(Commands(cluster.operator, tmp_path), cluster.settings)
        else:
            watched = await stack.enter_async_context(watched_store())
            yield Operator(Commands(watched.settings, tmp_path), watched.settings)


async def test_keys_are_made_listed_changed_and_deleted(operator: Operator, tmp_path: Path) -> None:
    async with open_store(operator.commands.store) as client:
        keys = KeyStore(client, "gw:")
        made = [operator.commands.create() for _ in range(2)]
        for number in range(COUNT - 2):
            fields = {"consumer": "sales", "scopes": "agents/*", "plan": "gone", "env": "live"}
            await client.hset(f"gw:key:{{{number:012}}}", mapping={"hash": PHC, **fields})
            await client.hset(f"gw:key:{{{number:012}}}", "status", "active")
        listed = (await operator.json("keys", "list"))["keys"]
        assert len(listed) == COUNT
        assert (await operator.json("keys", "show", made[0].id))["id"] == made[0].id
        rotated = await operator.json("keys", "rotate", made[0].id, "--grace", "1h")
        assert rotated["id"] == made[0].id
        assert [
            s.startswith("plan gone is gone")
            for s in (await orphans(keys, Policies("t"))).sentences
        ] == [True]
        revoked = await operator.run("keys", "revoke", "--consumer", "sales", "--yes")
        assert revoked.code == 0
        assert "replica" not in revoked.said, "a replica of each node has it"
        listed = (await operator.json("keys", "list", "--status", "revoked"))["keys"]
        assert len(listed) == COUNT
        deleted = await operator.run("keys", "delete", *(key["id"] for key in listed), "--yes")
        assert deleted.code == 0, deleted.said
        assert await keys.ids() == []


async def test_keys_are_exported_and_imported_again(operator: Operator, tmp_path: Path) -> None:
    """Whichever nodes they are on, with every field and the time that each has left."""
    file = str(tmp_path / "keys.jsonl")
    async with open_store(operator.commands.store) as client:
        made = [await asyncio.to_thread(operator.commands.create) for _ in range(3)]
        names = [f"gw:key:{{{key.id}}}" for key in made]
        await client.expireat(names[0], 4_000_000_000)
        before = [await client.hgetall(name) for name in names]
        told = await operator.json("keys", "export", "--out", file)
        assert told == {"exported": len(made), "left_out": []}
        again = await operator.json("keys", "import", file)
        assert {row["outcome"] for row in again["results"]} == {"unchanged"}
        for name in names:
            await client.delete(name)
        done = await operator.json("keys", "import", file)
        assert {row["outcome"] for row in done["results"]} == {"imported"}
        assert [await client.hgetall(name) for name in names] == before
        assert await client.expiretime(names[0]) == 4_000_000_000


async def test_doctor_sees_each_node_and_every_worker(operator: Operator) -> None:
    async with open_store(operator.gateway) as client:
        workers = WorkerStore(client, "gw:")
        for pid in range(5):
            record = WorkerRecord("host", pid, "1", 1_790_000_000, "rev", "127.0.0.1:8080")
            await workers.write(record)
        await workers.remove(WorkerRecord("host", 0, "1", 1_790_000_000, "rev", "127.0.0.1:8080"))
        told = (await operator.run("doctor", "--json")).json
        assert [worker["pid"] for worker in told["workers"]] == [1, 2, 3, 4]
        answering = [f for f in told["findings"] if " answers: " in f["sentence"]]
        assert len(answering) == (3 if "+cluster" in (operator.gateway.url or "") else 1)
        assert all(not f["wrong"] for f in told["findings"] if "append-only" not in f["sentence"])


async def test_raw_commands_follow_their_keys(operator: Operator) -> None:
    for number in range(3):
        name = f"gw:key:{{{number:012}}}"
        assert (await operator.run("redis", "--", "HSET", name, "label", f"l{number}")).out == "1\n"
        assert (await operator.run("redis", "--", "HGET", name, "label")).out == f"l{number}\n"
    assert (await operator.run("redis", "--", "PING")).out == "PONG\n"
    refused = await operator.run("redis", "--", "NOSUCHCOMMAND")
    assert (refused.code, refused.is_one_sentence()) == (1, True)


async def test_policies_are_explained_with_the_records_of_the_fleet(
    operator: Operator, tmp_path: Path
) -> None:
    key = operator.commands.create("--plan", "")
    (tmp_path / "policies").mkdir()
    policy = {"version": 1, "agents": {"echo": {"upstream": "http://127.0.0.1:1"}}}
    (tmp_path / "policies" / "p.yaml").write_text(json.dumps(policy))
    told = await operator.json("policy", "explain", "--key", key.id, "--url", "/agents/echo/x")
    assert told["decision"] == "allow"
