"""A secret that all workers of a fleet find in Redis, made by the first that asks."""

from secrets import token_bytes

from redis.asyncio import Redis

from gateway.store.connections.failures import translated

_BYTES = 32


async def shared_secret(client: Redis, name: str) -> bytes:
    """32 bytes, the same for all who ask; StoreError."""
    with translated():
        await client.set(name, token_bytes(_BYTES).hex(), nx=True)
        found = await client.get(name)
    return bytes.fromhex(str(found))
