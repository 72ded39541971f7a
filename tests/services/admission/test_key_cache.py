"""The cache of keys is bounded, whoever calls whatever."""

from collections.abc import AsyncIterator

import pytest

from gateway.domain.keys.record import from_fields
from gateway.domain.policies.snapshot import Agent, Policies
from gateway.domain.settings import StoreSettings
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.cached_key import CachedKey, cached_key
from gateway.services.admission.key_cache import KeyCache
from gateway.services.admission.locate import Located
from gateway.store.admission import PREPARE, Admission
from gateway.store.connections.connect import open_lines

ROOM = 40
POLICIES = Policies()


@pytest.fixture
async def cache(store: StoreSettings) -> AsyncIterator[KeyCache]:
    admission = Admission(open_lines(store, PREPARE), store.prefix)
    yield KeyCache(admission, ROOM)
    await admission.close()


def cached(number: int) -> CachedKey:
    record = from_fields(f"{number:012d}", {"consumer": "sales", "scopes": "agents/*"})
    return cached_key(record, Candidate(Slot.CURRENT, "", ""), POLICIES)


def access(cache: KeyCache, number: int, agents: int) -> None:
    """A key calls so many agents."""
    digest = b"%d" % number
    one = cache.get(digest) or cache.keep(digest, cached(number))
    for agent in range(agents):
        cache.access(one, Located(Agent(f"a{agent}", ()), b"/"))


def remembered(cache: KeyCache) -> list[int]:
    found = ((number, cache.get(b"%d" % number)) for number in range(100))
    return [number for number, one in found if one is not None]


@pytest.mark.parametrize("agents", [1, 8])
async def test_keys_and_what_they_call_share_one_room(cache: KeyCache, agents: int) -> None:
    for number in range(100):
        access(cache, number, agents)
        kept = [cache.get(b"%d" % one) for one in remembered(cache)]
        assert sum(len(one.accesses) for one in kept if one is not None) <= ROOM
    # The oldest went, and as few as had to.
    left = remembered(cache)
    assert left == list(range(left[0], 100))
    assert len(left) * agents > ROOM // 2


async def test_a_key_that_calls_again_opens_nothing_anew(cache: KeyCache) -> None:
    access(cache, 1, 1)
    for _ in range(10 * ROOM):
        access(cache, 1, 1)
    access(cache, 2, 1)
    assert remembered(cache) == [1, 2]


async def test_a_key_whose_record_was_read_anew_counts_once(cache: KeyCache) -> None:
    for _ in range(10 * ROOM):
        cache.keep(b"1", cached(1))
        access(cache, 1, 1)
    access(cache, 2, 1)
    assert remembered(cache) == [1, 2]
