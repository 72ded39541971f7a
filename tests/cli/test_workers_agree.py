"""Several workers and gateways on one Redis: one truth about a key, one count of its limits."""

import asyncio
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.crews import Crew, SlowAgent, crew, issue, slow_agent
from tests.cli.serving import PATIENCE, Connection
from tests.flows.world import PEPPER, Answer

WORKERS = 4
GATEWAYS = 2


@pytest.fixture
async def agent() -> AsyncIterator[SlowAgent]:
    async with slow_agent() as made:
        yield made


@pytest.fixture
async def fleet(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> AsyncIterator["Fleet"]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(
        f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
        "plans:\n  own: {agents: {a: {quota: 150/month}}}\n"
    )
    settings = {
        "GATEWAY_REDIS_URL": store.url or "",
        "GATEWAY_PEPPER": b64encode(PEPPER).decode(),
        "GATEWAY_ACCESS_LOG": "off",
    }
    async with AsyncExitStack() as stack:
        crews = [crew(workers=WORKERS, folder=tmp_path, settings=settings) for _ in range(GATEWAYS)]
        made = await asyncio.gather(*map(stack.enter_async_context, crews))
        fleet = Fleet(made)
        await fleet.connect()
        yield fleet


class Fleet:
    """Two connections to each worker of each gateway, kept from the start to the end."""

    def __init__(self, crews: list[Crew]) -> None:
        self._crews = crews
        self.connections: list[Connection] = []

    async def connect(self) -> None:
        for made in self._crews:
            for pid in made.pids * 2:
                self.connections.append(await made.connect_to(pid))

    async def ask(self, key: str, times: int, path: str = "/agents/a/quick") -> list[Answer]:
        """`times` requests on each connection, on all of them at once."""

        async def asked(connection: Connection) -> list[Answer]:
            return [await connection.get(path, key) for _ in range(times)]

        answers = await asyncio.gather(*map(asked, self.connections))
        return [answer for some in answers for answer in some]


def by_outcome(answers: list[Answer]) -> Counter[str]:
    return Counter("admitted" if a.status == 200 else a.code for a in answers)


async def test_what_redis_cli_changes_holds_from_the_next_request_in_every_worker(
    fleet: Fleet, client: Redis, redis_cli: Callable[..., str]
) -> None:
    everywhere = len(fleet.connections)
    assert everywhere == 2 * WORKERS * GATEWAYS
    changes = [
        (("DEL", "{}"), "key_invalid"),
        (("HSET", "{}", "status", "revoked"), "key_revoked"),
        (("HSET", "{}", "status", "disabled"), "key_disabled"),
        (("HSET", "{}", "scopes", "agents/b"), "scope_denied"),
        (("EXPIRE", "{}", "0"), "key_invalid"),
    ]
    for words, code in changes:
        key = await issue(client)
        warm = await fleet.ask(key.text, 2)
        assert by_outcome(warm) == {"admitted": 2 * everywhere}
        redis_cli(*(word.format(f"gw:key:{{{key.id}}}") for word in words))
        refused = await fleet.ask(key.text, 25)
        assert by_outcome(refused) == {code: 25 * everywhere}


async def test_quotas_are_exact_to_the_request(fleet: Fleet, client: Redis) -> None:
    everywhere = len(fleet.connections)
    # A month does not end between two requests as an hour does.
    for fields in ({"limits": "quota=150/month"}, {"plan": "own"}):
        key = await issue(client, **fields)
        answers = await fleet.ask(key.text, 20)
        assert by_outcome(answers) == {
            "admitted": 150,
            "quota_exhausted": 20 * everywhere - 150,
        }


async def test_places_are_exact_and_come_back(
    fleet: Fleet, client: Redis, agent: SlowAgent
) -> None:
    most = 5
    others = len(fleet.connections) - most
    key = await issue(client, limits=f"concurrency={most}")
    for _ in range(3):
        agent.go_on.clear()
        calls = [connection.get("/agents/a/slow", key.text) for connection in fleet.connections]
        asking = [asyncio.create_task(call) for call in calls]
        # Whoever gets no place has to be told so before one is free again.
        async with asyncio.timeout(PATIENCE):
            while sum(task.done() for task in asking) < others or agent.running < most:
                await asyncio.sleep(0.01)
        agent.go_on.set()
        answers = await asyncio.gather(*asking)
        assert by_outcome(answers) == {"admitted": most, "concurrency_limited": others}
        assert agent.most == most
        async with asyncio.timeout(PATIENCE):
            while await client.zcard(f"gw:lease:{{{key.id}}}"):
                await asyncio.sleep(0.01)


async def test_a_rate_admits_no_more_than_its_burst_and_what_time_brings(
    fleet: Fleet, client: Redis
) -> None:
    key = await issue(client, limits="rate=40/s burst=10")
    began = time.monotonic()
    answers: list[Answer] = []
    while time.monotonic() - began < 1.5:
        answers += await fleet.ask(key.text, 5)
    took = time.monotonic() - began
    found = by_outcome(answers)
    assert found.keys() == {"admitted", "rate_limited"}
    assert found["admitted"] <= 10 + 40 * took
    # And nothing is lost: while callers keep asking, it gives what it promises.
    assert found["admitted"] >= 0.9 * 40 * took
