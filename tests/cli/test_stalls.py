"""A gateway whose process stalls, as on a machine whose processor others have, fails no request for
it: what Redis and agents answered in time is not late because it was read late."""

import asyncio
import signal
from pathlib import Path

import pytest

from gateway.domain.settings import StoreSettings
from tests.cli.commands import PEPPER
from tests.cli.crews import SlowAgent
from tests.cli.serving import Served, serving

# Longer than what a busy machine takes from the agent, which is in this process.
TIMEOUT = 1.0
# Every wait of the gateway ends in it.
STALL = 2.0


@pytest.fixture
def settings(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(
        f"version: 1\nagents:\n  a:\n    upstream: http://127.0.0.1:{agent.port}\n"
        f"    timeouts: {{connect: {TIMEOUT}s, first_byte: {TIMEOUT}s, idle: {TIMEOUT}s}}\n"
    )
    return {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_REDIS_TIMEOUT": f"{TIMEOUT}s",
        "GATEWAY_PEPPER": PEPPER,
    }


async def stall(gateway: Served) -> None:
    gateway.stop(signal.SIGSTOP)
    await asyncio.sleep(STALL)
    gateway.stop(signal.SIGCONT)


async def test_an_agent_that_answered_during_a_stall_answered_in_time(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    async with serving(folder=tmp_path, settings=settings) as gateway:
        caller = await gateway.connect()
        caller.send("/agents/a/slow", key)
        await agent.arrived.wait()
        stalling = asyncio.create_task(stall(gateway))
        agent.go_on.set()
        await stalling
        answer = await caller.answer()
        assert (answer.status, answer.body) == (200, b"finished")


async def test_stalls_under_load_fail_no_request(
    settings: dict[str, str], agent: SlowAgent, key: str, tmp_path: Path
) -> None:
    statuses: set[int] = set()
    over = asyncio.Event()

    async def call(gateway: Served) -> None:
        caller = await gateway.connect()
        while not over.is_set():
            statuses.add((await caller.get("/agents/a/quick", key)).status)

    async with serving(folder=tmp_path, settings=settings) as gateway:
        calls = [asyncio.create_task(call(gateway)) for _ in range(8)]
        for _ in range(3):
            await asyncio.sleep(0.1)
            await stall(gateway)
        over.set()
        await asyncio.gather(*calls)
    assert statuses == {200}
