"""A secret that all workers share through Redis, made by the first one that asks."""

import re
from secrets import token_bytes

from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.store.connections.failures import translated

_BYTES = 32
_MADE = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}", re.ASCII)


async def shared_secret(client: Redis, name: str) -> bytes:
    """Return 32 bytes, the same for all who ask; StoreError, also if the name holds another
    thing."""
    with translated():
        await client.set(name, token_bytes(_BYTES).hex(), nx=True)
        found = await client.get(name)
    if not _MADE.fullmatch(str(found)):
        raise StoreError(f"What is in {name} was not made by a gateway: remove it.")
    return bytes.fromhex(str(found))
