"""One raw command to the store in use, as redis-cli would send it."""

from typing import Any

from redis.asyncio import Connection

from gateway.domain.settings import StoreSettings
from gateway.store.connect import connections


async def ask(settings: StoreSettings, words: list[bytes]) -> Any:
    """The answer as it came; redis-py's errors as they are."""
    async with connections(settings) as connect:
        return await _ask(connect(), words)


async def _ask(connection: Connection, words: list[bytes]) -> Any:
    try:
        await connection.connect()
        await connection.send_command(*words)
        return await connection.read_response(disable_decoding=True)
    finally:
        await connection.disconnect()
