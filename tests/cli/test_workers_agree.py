"""Several workers and gateways on one Redis: one truth about a key, one count of its limits."""

import asyncio
import math
import time
from base64 import b64encode
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.domain.settings import StoreSettings
from tests.cli.crews import Crew, SlowAgent, crew, issue
from tests.cli.serving import PATIENCE, Connection
from tests.flows.world import PEPPER, Answer

WORKERS = 2
GATEWAYS = 2


@pytest.fixture
async def fleet(store: StoreSettings, agent: SlowAgent, tmp_path: Path) -> AsyncIterator["Fleet"]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yaml").write_text(
        f"version: 1\nagents:\n  a: {{upstream: 'http://127.0.0.1:{agent.port}'}}\n"
        "plans:\n  own: {agents: {a: {quota: 150/month}}}\n"
        "  slow: {agents: {a: {rate: 40/s, burst: 10}}}\n"
        "  few: {agents: {a: {concurrency: 5}}}\n"
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
        answers = await fleet.ask(key.text, 40)
        assert by_outcome(answers) == {
            "admitted": 150,
            "quota_exhausted": 40 * everywhere - 150,
        }


@pytest.mark.parametrize("fields", [{"limits": "concurrency=5"}, {"plan": "few"}])
async def test_places_are_exact_and_come_back(
    fleet: Fleet, client: Redis, agent: SlowAgent, fields: dict[str, str]
) -> None:
    most = 5
    others = len(fleet.connections) - most
    key = await issue(client, **fields)
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
            while await client.keys(f"gw:lease:{{{key.id}}}*"):
                await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: between when it was admitted or not, and which."""

    sent: float
    answered: float
    code: str


async def keep_asking(fleet: Fleet, key: str, seconds: float) -> list[Asked]:
    """On all connections at once, without a rest."""
    ends = time.monotonic() + seconds

    async def ask(connection: Connection) -> list[Asked]:
        asked = []
        while (sent := time.monotonic()) < ends:
            answer = await connection.get("/agents/a/quick", key)
            code = "admitted" if answer.status == 200 else answer.code
            asked.append(Asked(sent, time.monotonic(), code))
        return asked

    found = await asyncio.gather(*map(ask, fleet.connections))
    return [one for some in found for one in some]


def most_above(admitted: list[Asked], rate: float, burst: int) -> float:
    """By how many requests some span of time has more than burst + rate * T; below 0: none has.

    Of a span from one request's sending to another's answer, all are counted that were sent and
    answered within it: whatever moment between the two each was admitted at, it was in the span.
    """
    worst = -math.inf
    for first in admitted:
        within = sorted(one.answered for one in admitted if one.sent >= first.sent)
        for count, end in enumerate(within, 1):
            worst = max(worst, count - burst - rate * (end - first.sent))
    return worst


def least_left(asked: list[Asked], rate: float, burst: int) -> float:
    """How many a bucket of `burst` that fills with `rate` had left at least when it refused a
    request; 1 or more: it refused one that it had to let in.

    A bucket holds the least that any span up to now leaves it: burst + rate * T, less what was
    admitted in it. All count for a span that may have been admitted in it, and of its length only
    what is certain: so what a busy machine keeps waiting is never held against the bucket.
    """
    admitted = [one for one in asked if one.code == "admitted"]
    answered = sorted(one.answered for one in admitted)
    sent = sorted(one.sent for one in admitted)

    def left(refused: Asked) -> float:
        begun = bisect_right(sent, refused.answered)
        # A span that begins just before an admission may have ended is the shortest with it.
        spans = enumerate(answered[: bisect_left(answered, refused.answered) + 1])
        return min(
            (
                burst + rate * max(0.0, refused.sent - start) - max(0, begun - before)
                for before, start in spans
            ),
            default=burst,
        )

    return max((left(one) for one in asked if one.code == "rate_limited"), default=0.0)


async def ahead(client: Redis) -> tuple[float, float]:
    """Seconds by which Redis' clock, which decides, is ahead of the one that spans are measured
    with, and how far off that may be: half of the quickest way there and back."""
    found = []
    for _ in range(20):
        before = time.monotonic()
        seconds, microseconds = await client.time()
        after = time.monotonic()
        half = (after - before) / 2
        found.append((half, seconds + microseconds / 1e6 - before - half))
    half, difference = min(found)
    return difference, half


@pytest.mark.parametrize("fields", [{"limits": "rate=40/s burst=10"}, {"plan": "slow"}])
async def test_a_rate_admits_no_more_in_any_span_than_its_burst_and_what_time_brings(
    fleet: Fleet, client: Redis, fields: dict[str, str]
) -> None:
    """A key's own, and a plan's at one agent."""
    rate, burst, seconds = 40, 10, 2.0
    key = await issue(client, **fields)
    at_first, off = await ahead(client)
    asked = await keep_asking(fleet, key.text, seconds)
    at_last, off_too = await ahead(client)
    # A machine's clock may be set while it is measured; a span of Redis' is as much longer then.
    set_by = max(0.0, at_last - at_first) + off + off_too
    assert {one.code for one in asked} == {"admitted", "rate_limited"}
    admitted = [one for one in asked if one.code == "admitted"]
    assert most_above(admitted, rate, burst) <= rate * set_by, f"clock set by {set_by:.6f} s"
    # And nothing is lost: whoever is refused came when there was nothing left.
    assert least_left(asked, rate, burst) < 1 + rate * set_by, f"clock set by {set_by:.6f} s"


def asked_of_a_bucket(moments: list[float], rate: float, burst: int) -> list[Asked]:
    """What it answers at these moments, as its callers see it."""
    tokens, then, asked = float(burst), -math.inf, []
    for now in moments:
        tokens, then = min(burst, tokens + rate * (now - then)), now
        code = "admitted" if tokens >= 1 else "rate_limited"
        tokens -= tokens >= 1
        asked.append(Asked(now - 0.002, now + 0.002, code))
    return asked


def test_a_bucket_that_refuses_too_much_is_told_from_a_right_one() -> None:
    """What judges the test above too."""
    eager = [n / 400 for n in range(801)]
    halted = [now for now in eager if not 0.5 < now < 1.5]
    for moments in (eager, halted):
        assert least_left(asked_of_a_bucket(moments, 40, 10), 40, 10) < 1
        assert least_left(asked_of_a_bucket(moments, 36, 10), 40, 10) >= 1
        assert least_left(asked_of_a_bucket(moments, 40, 8), 40, 10) >= 1
