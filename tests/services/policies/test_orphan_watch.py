"""After a swap of policies the log says which living keys it broke."""

import asyncio
from contextlib import AsyncExitStack
from types import MappingProxyType

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.domain.keys.limits import Limits, Rate
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Policies
from gateway.services.policies.orphan_watch import OrphanWatch
from gateway.store.keys import KeyStore
from tests.phc import PHC

PLAN = Plan("standard", Limits(Rate(10, 1)))
KEY = {"hash": PHC, "status": "active", "plan": "standard", "limits": "burst=50"}


def having(*plans: Plan) -> Policies:
    return Policies(plans=MappingProxyType({plan.name: plan for plan in plans}))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (having(), "plan standard is gone: 1 key would be refused"),
        (having(Plan("standard", Limits())), "limits make no sense: 1 key would be refused"),
    ],
)
async def test_a_plan_that_keys_cannot_do_without_is_missed(
    client: Redis, after: Policies, said: str
) -> None:
    await client.hset("gw:key:{4xT9mQ2LrB7c}", mapping=KEY)
    async with AsyncExitStack() as stack:
        watch = OrphanWatch(KeyStore(client, "gw:"), stack)
        with capture_logs() as logs:
            watch(having(PLAN), after)
            async with asyncio.timeout(10):
                while not logs:
                    await asyncio.sleep(0.01)
    assert [line["reason"] for line in logs] == [said]
