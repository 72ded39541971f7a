"""What the vault does reaches every worker within its poll, and fails no request on the way."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.awake import awake
from tests.cli.crews import Crew, issue, vault_crew
from tests.cli.serving import Connection
from tests.flows.own_store import own_store
from tests.services.vaults import Vault

POLL = 0.5
# A fifth more, a look, and a busy machine.
WITHIN = POLL * 1.2 + 1.5
PATH = "/v1/credentials?names=crm"


@pytest.fixture
async def workers(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> AsyncIterator[tuple[Crew, Vault]]:
    vault = Vault(client)
    await vault.write("crm")
    poll = f"{POLL}s"
    async with vault_crew(store, workers=3, folder=tmp_path, GATEWAY_CREDENTIAL_POLL=poll) as made:
        yield made, vault


async def version(connection: Connection, key: str) -> int:
    answer = await connection.get(PATH, key)
    assert answer.status == 200, answer.body
    (crm,) = answer.json["credentials"]
    assert crm["fields"]["value"] == f"crm-{crm['version']}"
    return int(crm["version"])


async def pulling_key(client: Redis) -> str:
    key = (await issue(client)).text
    await client.hset(f"gw:key:{{{key[9:21]}}}", "scopes", "gateway/credentials:crm")
    return key


async def test_every_worker_uses_the_new_version_in_time_and_no_request_fails(
    workers: tuple[Crew, Vault], client: Redis
) -> None:
    made, vault = workers
    key = await pulling_key(client)
    connections = [await made.connect_to(pid) for pid in made.pids]
    seen: list[int] = []
    enough = asyncio.Event()

    async def load(connection: Connection) -> None:
        while not enough.is_set():
            seen.append(await version(connection, key))

    loads = [asyncio.create_task(load(await made.served.connect())) for _ in range(4)]
    for number in (2, 3, 4):
        await vault.write("crm", number, grace=int(time.time()) + 60)
        with awake() as passed:
            for connection in connections:
                while await version(connection, key) != number:
                    assert passed() < WITHIN
                    await asyncio.sleep(0.02)
    enough.set()
    await asyncio.gather(*loads)
    assert len(seen) > 50 and set(seen) == {1, 2, 3, 4}


async def test_a_worker_that_starts_while_the_vault_is_away_leaves_all_calls_to_the_others(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    async with own_store() as own:
        await Vault(own.client).write("crm")
        apart = {
            "GATEWAY_VAULT_REDIS_URL": own.settings.url or "",
            "GATEWAY_CREDENTIAL_POLL": f"{POLL}s",
        }
        async with vault_crew(store, workers=2, folder=tmp_path, **apart) as made:
            key = await pulling_key(client)
            own.kill()
            for _ in made.pids:
                await made.served.event("credentials_unchecked")
            os.kill(made.pids.pop(), signal.SIGKILL)
            await made.served.event("credentials_unchecked")
            for _ in range(40):
                assert await version(await made.served.connect(), key) == 1
                await asyncio.sleep(0.05)
            await own.start()
            newest = await made.connect_to(await made.next_pid())
            assert await version(newest, key) == 1
