"""Nothing of a request may outlive it: no task, no connection, no lease."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gateway
from tests.flows.world import World

HOME = str(Path(gateway.__file__).parent)
# Three times the longest `idle` of an agent: some ends are noticed by nothing else.
PATIENCE = 15.0


def tasks() -> set["asyncio.Task[Any]"]:
    """Those that run code of the gateway."""
    return {task for task in asyncio.all_tasks() if HOME in str(task.get_coro())}


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def leftovers(world: World, before: set["asyncio.Task[Any]"]) -> Iterator[str]:
    """What is still there, a sentence each."""
    for number, opened in enumerate(world.gateways):
        forwarder = opened.data._callbacks.serve.__self__._forwarder  # type: ignore[attr-defined]
        pool, balance = forwarder._pool, forwarder._balance
        kept = sum(len(idle) for idle in pool._idle.values())
        if opened.data.connections:
            yield f"gateway {number}: {len(opened.data.connections)} connections of callers"
        if len(pool._open) != kept:
            yield f"gateway {number}: {len(pool._open) - kept} connections on lease"
        busy = {str(upstream): h.busy for upstream, h in balance._health.items() if h.busy}
        if busy:
            yield f"gateway {number}: upstreams that count as busy: {busy}"
    yield from (f"task {task.get_coro()}" for task in tasks() - before)


@asynccontextmanager
async def nothing_left(world: World) -> AsyncIterator[None]:
    """What happens inside leaves nothing behind, at the latest after a moment."""
    before = tasks()
    yield
    try:
        async with asyncio.timeout(PATIENCE):
            while any(leftovers(world, before)):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("\n".join(leftovers(world, before))) from None
