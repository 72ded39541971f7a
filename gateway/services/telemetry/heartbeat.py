"""The heartbeat of a serving process: that it is alive, its version and its policies."""

import asyncio
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gateway import __version__
from gateway.domain.errors import StoreError
from gateway.domain.workers import WorkerRecord
from gateway.log import log
from gateway.store.workers import WorkerStore

BEAT_SECONDS = 5.0


class Heartbeat:
    """`revision` returns that of the policies in force."""

    def __init__(self, workers: WorkerStore, listen: str, revision: Callable[[], str]) -> None:
        self._workers = workers
        self._revision = revision
        self._record = WorkerRecord(
            host=platform.node(),
            pid=os.getpid(),
            version=__version__,
            started_at=int(time.time()),
            revision=revision(),
            listen=listen,
        )

    async def beat(self) -> None:
        """Beat again and again, also while the store is away. Never ends by itself."""
        while True:
            try:
                await self._workers.write(replace(self._record, revision=self._revision()))
            except StoreError as problem:
                log.debug("heartbeat_missed", reason=str(problem))
            await asyncio.sleep(BEAT_SECONDS)

    async def end(self) -> None:
        """Remove the heartbeat at once, instead of letting it expire."""
        with suppress(StoreError):
            await self._workers.remove(self._record)
