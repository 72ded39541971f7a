"""Walking over the names in Redis."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.cluster import masters
from gateway.store.failures import translated

SCAN_COUNT = 1000


async def scan(client: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    """The names that match, in batches; one may come twice. StoreError as everywhere."""
    with translated():
        async with masters(client) as nodes:
            for node in nodes.values():
                async for names in _scan(node, pattern):
                    yield names


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
