"""The vault as a source of credentials: reads and decrypts what was written since last time."""

import time
from collections.abc import Callable
from dataclasses import replace

from gateway.client.sync import Changes, SourceError
from gateway.crypto.envelope import (
    BrokenCredentialError,
    Envelope,
    UnknownMasterKeyError,
)
from gateway.domain.credentials import Credential
from gateway.domain.errors import StoreError
from gateway.store.vault import VaultStore, Written


class WrongMasterKeyError(SourceError):
    """There are credentials, and none of them can be decrypted with the given master keys."""


class VaultSource:
    waits = False

    def __init__(
        self, store: VaultStore, envelope: Envelope, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> float:
        """Return Unix seconds by Redis' clock, as last observed. Rotations set the end of a grace
        period by that clock, and a worker's own may be hours off."""
        return self._clock() + self._ahead

    async def fetch(self, since: int, wait: float) -> Changes:
        try:
            written, whole = await self._written(since)
            records = await self._store.read(name for name, _ in written.ids)
            missing = [name for name, _ in written.ids if name not in records]
            versions = await self._store.last_versions(missing)
        except StoreError as problem:
            raise SourceError(str(problem)) from None
        broken = {
            name: f"The record of credential '{name}' is gone, and nobody deleted it."
            for name, version in zip(missing, versions, strict=True)
            if version is None
        }
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
        removed = tuple((n, r) for n, r in written.ids if n not in records and n not in broken)
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
