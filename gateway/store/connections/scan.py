"""Scanning the names in Redis."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.connections.failures import translated
from gateway.store.connections.nodes import masters

SCAN_COUNT = 1000
# A cluster whose slots still move after so many passes has long been seen as a whole.
MOST_PASSES = 10


async def scan(client: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    """Yield the matching names in batches; a name may come twice. StoreError as everywhere.

    A name that exists throughout is never missed. In a cluster it may move during the scan, from a
    node that comes later to one that was already scanned: then all are scanned again.
    """
    with translated():
        for passed in range(1, MOST_PASSES + 1):
            async with masters(client) as nodes:
                before = await _holdings(nodes)
                for node in nodes.values():
                    async for names in _scan(node, pattern):
                        yield names
                after = await _holdings(nodes)
            # A name moves at most once while its slot moves, so the second pass finds it.
            if before == after and (passed > 1 or b"[" not in b"".join(after)):
                return


async def _holdings(nodes: dict[str, Redis]) -> tuple[bytes, ...]:
    """Return what each cluster node says of its own slots; a moving slot stands in brackets."""
    if "" in nodes:
        return ()
    fields = []
    for node in nodes.values():
        text = await node.execute_command("CLUSTER", "NODES", **{NEVER_DECODE: True})
        line = next(line for line in text.splitlines() if b"myself" in line)
        # The line's name, epoch and slots, without the time of its last ping.
        words = line.split(b" ")
        fields.append(b" ".join((words[0], words[6], *words[8:])))
    return tuple(fields)


async def _scan(node: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    cursor = 0
    while True:
        # As bytes: a name made by hand may not be UTF-8, and must not break the connection.
        cursor, names = await node.execute_command(
            "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, **{NEVER_DECODE: True}
        )
        yield names
        if cursor == 0:
            return
