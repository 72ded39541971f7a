"""What is used is counted for as long as it can be, whatever becomes of one bucket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.errors import Code, Denied
from gateway.domain.settings import StoreSettings
from gateway.domain.traffic import Handled, unreadable
from gateway.domain.usage import EVERYTHING, By, Counts, Step, TokensUsed, buckets
from gateway.services.telemetry.usage import UsageBook
from gateway.services.telemetry.usage_reports import reached, series, totals
from gateway.store.connections.connect import open_lines
from gateway.store.usage import UsageStore, UsageWriter
from gateway.tasks import cancel_and_wait

NOW = 1_800_000_000.0
DAY = Step.DAY.start(NOW)


@pytest.fixture
async def book(store: StoreSettings) -> AsyncIterator[UsageBook]:
    writer = UsageWriter(open_lines(store), "worker", "gw:")
    yield UsageBook(writer, lambda: NOW)
    await writer.close()


async def tokens(client: Redis) -> int:
    (point,) = await series(UsageStore(client, "gw:"), By.ALL, EVERYTHING, Step.DAY, NOW, NOW)
    return point.counts.tokens


def served(consumer: str, at: float) -> Handled:
    unserved = unreadable("r", Denied(Code.BAD_REQUEST), sent=0, at=at)
    return unserved._replace(
        key_id=consumer, consumer=consumer, agent="agent", status=200, code="", admission=0.007
    )


async def test_no_request_is_lost_or_counted_twice_if_a_flush_is_cut_off(
    book: UsageBook, client: Redis
) -> None:
    for seconds in (0, 1):
        batch = [served(f"consumer-{number}", NOW + seconds) for number in range(250)]
        book.count(batch)
        book.count(batch[:10])
    flushing = asyncio.create_task(book.flush())
    # It has begun, and lets others run between two portions of the outcomes.
    await asyncio.sleep(0)
    await cancel_and_wait(flushing)
    await book.flush()
    usage = UsageStore(client, "gw:")
    assert await totals(usage, By.ALL, Step.DAY, NOW, NOW) == {EVERYTHING: Counts(requests=520)}
    assert await totals(usage, By.ADMISSION, Step.DAY, NOW, NOW) == {"10": Counts(requests=520)}
    assert await reached(usage, "consumer-3", NOW, NOW) == {"agent": Counts(requests=4)}


async def test_a_bucket_that_takes_no_counts_is_lost_alone_and_said(
    book: UsageBook, client: Redis
) -> None:
    await client.set(f"gw:usage:{{consumer}}:day:{DAY}", "no hash")
    with capture_logs() as logs:
        for told in (1, 2):
            book.spend("AAAAAAAAAAAA", "acme", "a", TokensUsed(1, 0, 1))
            await book.flush()
            assert await tokens(client) == told
    assert [(one["event"], one["buckets"]) for one in logs] == [("usage_not_counted", 1)] * 2


async def test_a_bucket_that_holds_something_else_hides_no_other(
    book: UsageBook, client: Redis
) -> None:
    book.spend("AAAAAAAAAAAA", "acme", "a", TokensUsed(1, 0, 1))
    await book.flush()
    before = Step.DAY.start(DAY - 1)
    await client.set(f"gw:usage:{{all}}:day:{before}", "no hash")
    with capture_logs() as logs:
        points = await series(UsageStore(client, "gw:"), By.ALL, EVERYTHING, Step.DAY, before, NOW)
    assert [point.counts.tokens for point in points] == [0, 1]
    assert [one["name"] for one in logs] == [f"gw:usage:{{all}}:day:{before}"]


async def test_what_a_full_redis_refuses_is_told_again(book: UsageBook, client: Redis) -> None:
    await client.config_set("maxmemory", 1)
    try:
        book.spend("AAAAAAAAAAAA", "acme", "a", TokensUsed(1, 0, 1))
        await book.flush()
    finally:
        await client.config_set("maxmemory", 0)
    assert await tokens(client) == 0
    await book.flush()
    await book.flush()
    assert await tokens(client) == 1


async def test_what_one_worker_tells_twice_is_counted_once_and_kept_for_a_time(
    store: StoreSettings, client: Redis
) -> None:
    """Where an answer was lost nobody knows whether it was counted."""
    counted = {bucket: {EVERYTHING: Counts(tokens=3)} for bucket in buckets(By.ALL, NOW)}
    workers = [UsageWriter(open_lines(store), name, "gw:") for name in ("one", "other")]
    for worker, number in ((0, 1), (0, 1), (1, 1), (1, 1), (0, 2)):
        await workers[worker].add(counted, number)
    assert await tokens(client) == 9
    for name in await client.keys("gw:usage:*"):
        assert await client.ttl(name) > 0
    for one in workers:
        await one.close()
