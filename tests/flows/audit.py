"""The audit of a world, as it comes: records are written after answers, and metrics with them."""

import asyncio
import json
import time
from typing import Any

from gateway.store.audit import AuditStore
from tests.flows.world import World


async def records(world: World, event: str = "") -> list[dict[str, Any]]:
    found = [json.loads(r) async for _, r in AuditStore(world.client, world.store.prefix).read()]
    return [one for one in found if not event or one["event"] == event]


async def come(world: World, event: str, count: int) -> list[dict[str, Any]]:
    ends = time.monotonic() + 15
    while len(found := await records(world, event)) < count and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    assert len(found) == count, found
    return found


async def metric(world: World, name: str) -> float:
    async with world.session.get(f"http://{world.gateways[0].admin.address}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
