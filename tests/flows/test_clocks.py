"""A gateway's own clock may be wrong: what has an end ends by Redis' clock all the same."""

import time

import pytest
from redis.asyncio import Redis

from gateway.domain.audit.settings import Retention
from gateway.store.audit import AuditStore
from tests.flows.services import seen
from tests.flows.world import World
from tests.services.vaults import Vault

HOURS = 3600.0


@pytest.fixture(params=[-3 * HOURS, 3 * HOURS], ids=["behind", "ahead"])
def wrong(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds by which this machine's clock is ahead of Redis', from before the gateway starts."""
    right, off = time.time, float(request.param)
    monkeypatch.setattr(time, "time", lambda: right() + off)
    return off


@pytest.mark.parametrize("left", [-60, 60])
async def test_a_grace_lasts_as_long_as_it_was_given(
    wrong: float, world: World, client: Redis, left: int
) -> None:
    vault = Vault(client)
    ends = await vault.store.now() + left
    await vault.write("crm", 2, grace=ends)
    await seen(world, "crm", 2)
    key = await world.issue("gateway/credentials:crm")
    (told,) = (await world.call(key, "/v1/credentials?names=crm")).json["credentials"]
    assert (told["previous"] is not None) == (left > 0)


async def test_what_may_have_been_dropped_for_its_age_is_told_by_the_clock_that_drops_it(
    wrong: float, client: Redis
) -> None:
    """By another one, records that somebody took away would pass, or those dropped not."""
    store = AuditStore(client, "gw:")
    seconds, _ = await client.time()
    told = await store.gone_before(Retention(records=1000, seconds=600))
    assert 0 <= told - (seconds - 600) < 60
