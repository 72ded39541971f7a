"""Waiting for what comes about by itself."""

import asyncio
from collections.abc import Callable

PATIENCE = 30.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)
