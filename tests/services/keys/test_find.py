"""Finding keys: every key once, filters that tell the truth, and no index to go stale."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gateway.domain.errors import OperationError
from gateway.domain.keys import scopes
from gateway.domain.keys.views import KeyView
from gateway.services.keys.find import KeyFilter, find_key, of_consumer, page, scan_records
from gateway.store.keys import KeyStore
from tests.phc import PHC

MANY = 100_000
FILL = """
for i = ARGV[1], ARGV[2] do
  redis.call('HSET', string.format('gw:key:{%012d}', i), 'hash', 'h', 'status', 'active',
             'consumer', 'c' .. (i % 10), 'scopes', 'agents/support')
end
"""


async def fill(client: Redis, amount: int) -> None:
    for start in range(0, amount, 5000):
        await client.eval(FILL, 0, str(start), str(min(start + 5000, amount) - 1))


async def all_pages(keys: KeyStore, wanted: KeyFilter, limit: int) -> list[KeyView]:
    found: list[KeyView] = []
    after = ""
    while True:
        part = await page(keys, wanted, limit=limit, after=after)
        assert len(part.keys) <= limit
        found.extend(part.keys)
        if part.next is None:
            return found
        after = part.next


async def test_every_one_of_a_hundred_thousand_keys_is_listed_exactly_once(
    keys: KeyStore, client: Redis
) -> None:
    await fill(client, MANY)
    listed = await all_pages(keys, KeyFilter(), limit=20_000)
    assert [key.id for key in listed] == [f"{i:012d}" for i in range(MANY)]
    first = await page(keys, KeyFilter(consumer="c7"), limit=3)
    assert [key.id for key in first.keys] == ["000000000007", "000000000017", "000000000027"]
    assert first.next == "000000000027"


async def test_keys_that_come_and_go_between_pages_neither_hide_nor_double_others(
    keys: KeyStore, client: Redis
) -> None:
    await fill(client, 2000)
    seen: list[str] = []
    after, turn = "", 0
    while True:
        part = await page(keys, KeyFilter(), limit=100, after=after)
        seen.extend(key.id for key in part.keys)
        if part.next is None:
            break
        after, turn = part.next, turn + 1
        # The cursor's own key, one before it, one ahead of it; and one is made by hand.
        at = int(after)
        for gone in (at, at - 50, at + 1):
            await client.delete(f"gw:key:{{{gone:012d}}}")
        await client.hset(f"gw:key:{{A{turn:011d}}}", mapping={"hash": "h", "status": "active"})
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    survivors = set(await keys.ids())
    assert survivors <= set(seen)


@pytest.fixture
async def zoo(client: Redis, keys: KeyStore) -> int:
    """One key of each sort, its id telling which; gives the present second."""
    now = await keys.now()
    live = {"hash": PHC, "status": "active", "consumer": "sales", "scopes": "agents/support:chat"}
    sorts = {
        "live": {},
        "hr": {"consumer": "hr", "scopes": "agents/* models/gpt-4"},
        "all": {"scopes": "*"},
        "revoked": {"status": "revoked"},
        "disabled": {"status": "disabled"},
        "odd": {"status": "odd"},
        "expired": {"expires_at": f"{now - 10}"},
        "soon": {"expires_at": f"{now + 1000}"},
        "later": {"expires_at": f"{now + 100_000}"},
        "bad": {"expires_at": "soon"},
        "nohash": {"hash": "", "status": "revoked"},
    }
    for name, fields in sorts.items():
        await client.hset(f"gw:key:{{{name:0<12}}}", mapping={**live, **fields})
    await client.set("gw:key:{string000000}", "no record")
    return now


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (KeyFilter(), "all bad disabled expired hr later live nohash odd revoked soon"),
        (KeyFilter(consumer="hr"), "hr"),
        (KeyFilter(consumer="h"), ""),
        (KeyFilter(state="active"), "all hr later live soon"),
        (KeyFilter(state="revoked"), "nohash revoked"),
        (KeyFilter(state="unusable"), "nohash"),
        (KeyFilter(state="disabled"), "disabled odd"),
        (KeyFilter(state="expired"), "expired"),
        (KeyFilter(state="misconfigured"), "bad"),
        (KeyFilter(expiring_within=2000), "soon"),
        (KeyFilter(expiring_within=200_000), "later soon"),
        (KeyFilter(scope=scopes.parse("models/gpt-4:invoke")), "all hr"),
        (KeyFilter(scope=scopes.parse("agents/faq:chat")), "all hr"),
        (KeyFilter(scope=scopes.parse("gateway/admin")), ""),
        (KeyFilter(consumer="sales", scope=scopes.parse("models/gpt-4:invoke")), "all"),
    ],
)
async def test_a_filter_takes_exactly_these(
    zoo: int, keys: KeyStore, wanted: KeyFilter, names: str
) -> None:
    ids = [f"{name:0<12}" for name in names.split()]
    assert [key.id for key in (await page(keys, wanted, limit=100)).keys] == ids
    assert [key.id for key in await all_pages(keys, wanted, limit=1)] == ids
    assert [record.id async for record in scan_records(keys, wanted)] == ids


async def test_unused_are_keys_that_are_old_enough_and_whose_last_use_is(
    zoo: int, keys: KeyStore, client: Redis
) -> None:
    ago = {"live": 50, "hr": 150, "all": 150, "soon": 150, "later": 150}
    for name, seconds in ago.items():
        await client.hset(f"gw:key:{{{name:0<12}}}", "created_at", str(zoo - seconds))
    used = {"hr": {"current": 120}, "all": {"current": 150, "previous": 80}, "soon": {"odd": 1}}
    for name, uses in used.items():
        times = {slot: str(zoo - seconds) for slot, seconds in uses.items()}
        await client.hset(f"gw:used:{{{name:0<12}}}", mapping=times)
    wanted = KeyFilter(state="active", unused_for=100)
    ids = [f"{name:0<12}" for name in ("hr", "later", "soon")]
    assert [key.id for key in await all_pages(keys, wanted, limit=1)] == ids
    assert [record.id async for record in scan_records(keys, wanted)] == ids
    # What cannot be known is not told as never, and the others are found all the same.
    await client.set(f"gw:used:{{{'later':0<12}}}", "no hash")
    known = [f"{name:0<12}" for name in ("hr", "soon")]
    assert [key.id for key in (await page(keys, wanted, limit=9)).keys] == known


async def test_an_empty_store_is_an_empty_page(keys: KeyStore) -> None:
    found = await page(keys, KeyFilter(), limit=10)
    assert found == replace(found, keys=(), next=None)


async def test_a_hand_made_deletion_shows_at_once(zoo: int, keys: KeyStore, client: Redis) -> None:
    await client.delete("gw:key:{live00000000}")
    listed = (await page(keys, KeyFilter(), limit=100)).keys
    assert "live00000000" not in [key.id for key in listed]
    with pytest.raises(OperationError, match="no key live00000000"):
        await find_key(keys, "live00000000")


async def test_a_consumers_keys_are_found_without_reading_the_others_records(
    keys: KeyStore, client: Redis
) -> None:
    """More of them than are read at a time, among ten times as many, one changed by hand."""
    await fill(client, 12_000)
    await client.hset("gw:key:{000000000007}", "consumer", "c8")
    await client.hdel("gw:key:{000000000017}", "consumer")
    wanted = [f"{i:012d}" for i in range(27, 12_000, 10)]
    await client.config_resetstat()
    found = await page(keys, KeyFilter(consumer="c7"), limit=10_000)
    calls = (await client.info("commandstats"))["cmdstat_hmget"]["calls"]
    assert [key.id for key in found.keys] == wanted
    assert calls == len(wanted)
    assert [key.id for key in await of_consumer(keys, "c7")] == wanted
