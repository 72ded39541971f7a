"""Walking over the names in Redis."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.connections.cluster import masters
from gateway.store.connections.failures import translated

SCAN_COUNT = 1000
# A cluster that is still being turned over after so many looks has been seen whole long since.
MOST_PASSES = 10


async def scan(client: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    """The names that match, in batches; one may come twice. StoreError as everywhere.

    One that is there throughout is never missed. In a cluster it may move meanwhile, from a node
    that comes later to one that has been looked at: then all are looked at once more.
    """
    with translated():
        for passed in range(1, MOST_PASSES + 1):
            async with masters(client) as nodes:
                before = await _holdings(nodes)
                for node in nodes.values():
                    async for names in _scan(node, pattern):
                        yield names
                after = await _holdings(nodes)
            # While its slot moves a name moves once: the second look finds it.
            if before == after and (passed > 1 or b"[" not in b"".join(after)):
                return


async def _holdings(nodes: dict[str, Redis]) -> tuple[bytes, ...]:
    """What each node of a cluster says of its own slots; one that moves stands in brackets."""
    if "" in nodes:
        return ()
    said = []
    for node in nodes.values():
        text = await node.execute_command("CLUSTER", "NODES", **{NEVER_DECODE: True})
        line = next(line for line in text.splitlines() if b"myself" in line)
        # Without when it was last heard of: its name, its epoch, its slots.
        words = line.split(b" ")
        said.append(b" ".join((words[0], words[6], *words[8:])))
    return tuple(said)


async def _scan(node: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    cursor = 0
    while True:
        # Bytes: a name made by hand may be anything, and must not break the connection.
        cursor, names = await node.execute_command(
            "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, **{NEVER_DECODE: True}
        )
        yield names
        if cursor == 0:
            return
