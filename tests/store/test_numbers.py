"""Numbers in Redis that no program wrote: whoever lists what is there gets to its end."""

import pytest
from redis.asyncio import Redis

from gateway.domain.usage import By, Counts, Step, bucket_of
from gateway.store.commands import number_or_none
from gateway.store.key_reader import KeyReader, LastUsed
from gateway.store.usage import UsageStore
from gateway.store.workers import WorkerStore

KEY = "AAAAAAAAAAAA"
# Python reads no number of more than 4,300 digits.
ENDLESS = "9" * 5000


@pytest.mark.parametrize("value", (None, b"", b"-1", b"1.5", b"\xd9\xa1", ENDLESS.encode()))
def test_what_nobody_counted_up_to_is_no_number(value: bytes | None) -> None:
    assert number_or_none(value) is None
    assert number_or_none(b"%d" % (2**63 - 1)) == 2**63 - 1


async def test_a_number_without_end_hides_no_other(client: Redis) -> None:
    bucket = bucket_of(By.ALL, Step.DAY, 0)
    await client.hset(f"gw:used:{{{KEY}}}", mapping={"current": ENDLESS, "previous": "7"})
    await client.hset(f"gw:usage:{{all}}:{bucket.place}", mapping={"|requests": ENDLESS})
    await client.hset(f"gw:usage:{{all}}:{bucket.place}", mapping={"|denied": "2"})
    await client.hset("gw:worker:here:1", mapping={"host": "here", "pid": ENDLESS})
    keys = KeyReader(client, "gw:")
    assert await keys.last_used(KEY) == LastUsed(None, 7)
    assert await keys.used_since([KEY], 6) == {KEY}
    assert await UsageStore(client, "gw:").read([bucket]) == [{"": Counts(denied=2)}]
    assert [(one.host, one.pid) for one in await WorkerStore(client, "gw:").all()] == [("here", 0)]
