"""`gw:log-level`: the log level of all workers while it is set; each worker polls it."""

from redis.asyncio import Redis

from gateway.store.commands import command
from gateway.store.connections.failures import translated


class LogLevelStore:
    """Every method raises StoreError if Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._name = f"{prefix}log-level"

    async def get(self) -> str:
        """Return the level; empty: none is set. Written by hand, it may be any text."""
        found = await command(self._client, "GET", self._name)
        return bytes(found or b"").decode(errors="replace")

    async def put(self, level: str, seconds: int | None) -> None:
        """Set the level for this many seconds; None: until it is removed."""
        with translated():
            await self._client.set(self._name, level, ex=seconds)

    async def remove(self) -> None:
        with translated():
            await self._client.delete(self._name)
