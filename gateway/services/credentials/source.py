"""The vault as a source of credentials: reads and decrypts what was written since last time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from gateway.client.changes import Changes, SourceError
from gateway.crypto.envelope import (
    BrokenCredentialError,
    Envelope,
    UnknownMasterKeyError,
)
from gateway.domain.credentials import Credential, CredentialId
from gateway.domain.errors import StoreError
from gateway.store.vault import VaultNews, VaultStore, Written


class WrongMasterKeyError(SourceError):
    """There are credentials, and none of them can be decrypted with the given master keys."""


class VaultSource:
    waits = False

    def __init__(
        self,
        store: VaultStore,
        news: VaultNews,
        envelope: Envelope,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._news = news
        self._envelope = envelope
        self._clock = clock
        self._ahead = 0.0
        self._heard = 0

    @property
    def has_master_key(self) -> bool:
        return bool(self._envelope.keys.ids)

    def now(self) -> float:
        """Return Unix seconds by Redis' clock, as last observed. Rotations set the end of a grace
        period by that clock, and a worker's own may be hours off."""
        return self._clock() + self._ahead

    async def until_news(self, since: int, seconds: float) -> None:
        ends = time.monotonic() + seconds
        # `since` alone would be told the same again and again after somebody set the revision back.
        heard = self._heard = max(since, self._heard)
        while self._heard == heard and (left := ends - time.monotonic()) > 0:
            try:
                self._heard = await self._news.after(heard, left)
            except StoreError:
                await asyncio.sleep(left)

    async def fetch(self, since: int, wait: float) -> Changes:
        try:
            written, whole = await self._written(since)
            records = await self._store.read_written([name for name, _ in written.ids])
        except StoreError as problem:
            raise SourceError(str(problem)) from None
        broken: dict[CredentialId, str] = {}
        opened: list[Credential] = []
        unknown: set[str] = set()
        for name, revision in written.ids:
            if name not in records:
                continue
            try:
                credential = self._envelope.open(name, records[name])
                opened.append(replace(credential, revision=revision))
            except UnknownMasterKeyError as problem:
                unknown.add(problem.master)
                broken[name] = str(problem)
            except BrokenCredentialError as problem:
                broken[name] = str(problem)
        if unknown and not opened and (whole or not since):
            raise WrongMasterKeyError(self._envelope.keys.mismatch(unknown))
        removed = tuple((n, r) for n, r in written.ids if n not in records)
        return Changes(written.revision, tuple(opened), removed, broken, whole)

    async def _written(self, since: int) -> tuple[Written, bool]:
        """Return what was written since; everything, if the vault has gone back since then."""
        written = await self._store.written_since(since)
        self._ahead = written.at - self._clock()
        if written.revision >= since:
            return written, False
        if written.revision == 0:
            # Nobody deletes everything in this way, and the known credentials are better than
            # nothing.
            raise SourceError("The vault has lost all it had: it is another Redis, or was flushed.")
        return await self._store.written_since(0), True
