"""The example of a PostgreSQL pool: its password is rotated while it runs, and no query fails."""

import asyncio
import json
import secrets
import sys
from pathlib import Path

from redis.asyncio import Redis

from gateway.domain.credentials import Credential, CredentialId, Version
from gateway.domain.settings import StoreSettings
from tests.cli.serving import environment
from tests.examples.postgres import postgres
from tests.flows.world import new_world
from tests.services.vaults import Vault

EXAMPLE = Path(__file__).parents[2] / "examples" / "postgres" / "pool.py"
DB = CredentialId("orders_db")


async def write(vault: Vault, number: int, url: str) -> None:
    before = await vault.store.get(DB)
    made = Credential(DB, "database", Version(number, {"url": url}))
    assert await vault.store.put(DB, vault.envelope.seal(made), before)


async def test_the_password_of_a_pool_is_rotated_while_it_runs_and_no_query_fails(
    store: StoreSettings, client: Redis
) -> None:
    vault = Vault(client)
    first, second = (f"mark{secrets.token_hex(12)}" for _ in range(2))
    with postgres() as server:
        await asyncio.to_thread(server.sql, f"CREATE ROLE agent_a LOGIN PASSWORD '{first}'")
        await asyncio.to_thread(server.sql, "CREATE ROLE agent_b LOGIN")
        await write(vault, 1, server.url("agent_a", first))
        async with new_world(store, client) as world:
            key = (await world.issue("gateway/credentials:orders_db")).text
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, EXAMPLE, "12"),
                env=environment(GATEWAY_URL=world.url, GATEWAY_KEY=key),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            said = await process.stdout.readline()
            assert said == b"queries run as agent_a\n"
            await asyncio.to_thread(server.sql, f"ALTER ROLE agent_b PASSWORD '{second}'")
            await write(vault, 2, server.url("agent_b", second))
            said = await asyncio.wait_for(process.stdout.readline(), 20)
            assert said == b"queries run as agent_b\n"
            # The old password is dead while the pool still runs.
            await asyncio.to_thread(server.sql, "ALTER ROLE agent_a PASSWORD NULL")
            out, err = await asyncio.wait_for(process.communicate(), 60)
    assert out.startswith(b"done: 0 failed"), (out, err)
    users = json.loads(out.decode().split("by user ")[1].replace("'", '"'))
    assert users["agent_a"] > 10 and users["agent_b"] > 50
    assert first.encode() not in out + err and second.encode() not in out + err
