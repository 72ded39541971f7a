"""Places that a killed worker held: kept until its lease ends, then free, and never given twice."""

import asyncio
import os
import signal
from base64 import b64encode
from pathlib import Path

from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from gateway.services.admission.leases import LEASE_SECONDS
from tests.cli.crews import crew, issue, slow_agent
from tests.cli.serving import PATIENCE, Connection
from tests.flows.world import PEPPER


async def now(client: Redis) -> float:
    """Redis' own clock, in milliseconds, as leases are."""
    seconds, micros = await client.time()
    return float(seconds * 1000 + micros / 1000)


async def take(client: Redis, connection: Connection, key: str, leases: str) -> str:
    """Take one more place, for as long as the agent is silent; the lease."""
    before = set(await client.zrange(leases, 0, -1))
    connection.send("/agents/a/slow", key)
    async with asyncio.timeout(PATIENCE):
        while not (taken := set(await client.zrange(leases, 0, -1)) - before):
            await asyncio.sleep(0.01)
    (lease,) = taken
    return str(lease)


async def test_a_killed_workers_place_is_free_after_its_lease_and_another_keeps_its_own(
    store: StoreSettings, client: Redis, tmp_path: Path
) -> None:
    """Two places, taken at two workers, of which one is killed; a third asks for one all along."""
    async with slow_agent() as agent:
        (tmp_path / "policies").mkdir()
        text = f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
        (tmp_path / "policies" / "a.yaml").write_text(text)
        settings = {
            "GATEWAY_REDIS_URL": store.url or "",
            "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
            "GATEWAY_ACCESS_LOG": "off",
        }
        key = await issue(client, limits="concurrency=2")
        leases = f"gw:lease:{{{key.id}}}"
        async with crew(workers=3, folder=tmp_path, settings=settings) as made:
            holder, victim, asking = [await made.connect_to(pid) for pid in made.pids]
            kept = await take(client, holder, key.text, leases)
            lost = await take(client, victim, key.text, leases)
            os.kill(made.pids[1], signal.SIGKILL)
            await made.served.event("worker_ended")
            ends = await client.zscore(leases, lost)
            first = await client.zscore(leases, kept)
            async with asyncio.timeout(LEASE_SECONDS + PATIENCE):
                while True:
                    asked_at = await now(client)
                    answer = await asking.get("/agents/a/quick", key.text)
                    if answer.status == 200:
                        break
                    assert answer.code == "concurrency_limited"
                    assert asked_at < ends, "the lease of the dead has ended"
                    await asyncio.sleep(0.2)
            assert await now(client) >= ends, "it was given away before its time"
            assert await client.zscore(leases, kept) > first, "what still runs is renewed"
            agent.go_on.set()
            assert (await holder.answer()).body == b"finished"
            async with asyncio.timeout(PATIENCE):
                while await client.exists(leases):
                    await asyncio.sleep(0.01)
