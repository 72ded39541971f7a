"""Walking over the names in Redis."""

from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.store.failures import translated

SCAN_COUNT = 1000


async def scan(client: Redis, pattern: str) -> AsyncIterator[list[bytes]]:
    """The names that match, in batches; one may come twice. StoreError as everywhere."""
    cursor = 0
    while True:
        # Bytes: a name made by hand may be anything, and must not break the connection.
        with translated():
            cursor, names = await client.execute_command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, **{NEVER_DECODE: True}
            )
        yield names
        if cursor == 0:
            return
