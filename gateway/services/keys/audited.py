"""Key records whose every change has its audit record first."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.record import ACTIVE, DISABLED, REVOKED, KeyRecord
from gateway.services.audit.acts import Acts
from gateway.store.keys import (
    ChangeVerdict,
    KeyStore,
    NewSecret,
    PutVerdict,
    SecretVerdict,
    StatusVerdict,
)

_EVENTS = MappingProxyType({REVOKED: "key.revoke", DISABLED: "key.disable", ACTIVE: "key.enable"})


class AuditedKeys(KeyStore):
    """Each change is one of `acts`. What cannot be recorded is not done, but for a revocation:
    that is never held up, and `on_unrecorded` is told its key."""

    def __init__(
        self,
        client: Redis,
        prefix: str,
        acts: Acts,
        on_unrecorded: Callable[[str], object],
    ) -> None:
        super().__init__(client, prefix)
        self._acts = acts
        self._on_unrecorded = on_unrecorded

    async def create(
        self, key_id: str, secret: NewSecret, fields: Mapping[str, str]
    ) -> tuple[SecretVerdict, KeyRecord]:
        await self._record("key.create", key_id, fields.get("consumer", ""))
        return await super().create(key_id, secret, fields)

    async def rotate(
        self, key_id: str, secret: NewSecret, grace: int
    ) -> tuple[SecretVerdict, KeyRecord]:
        await self._record("key.rotate", key_id)
        return await super().rotate(key_id, secret, grace)

    async def set_status(self, key_id: str, status: str) -> StatusVerdict:
        recorded = True
        try:
            await self._record(_EVENTS.get(status, "key.status"), key_id)
        except StoreError:
            if status != REVOKED:
                raise
            recorded = False
        verdict = await super().set_status(key_id, status)
        if not recorded:
            self._on_unrecorded(key_id)
        return verdict

    async def update(
        self, key_id: str, fields: Mapping[str, str], expected: str = ""
    ) -> ChangeVerdict:
        await self._record("key.update", key_id)
        return await super().update(key_id, fields, expected)

    async def put(self, copy: KeyCopy, *, overwrite: bool, only_tell: bool) -> PutVerdict:
        if not only_tell:
            await self._record("key.import", copy.record.id, copy.record.consumer)
        return await super().put(copy, overwrite=overwrite, only_tell=only_tell)

    async def copies(self, records: Sequence[KeyRecord]) -> list[KeyCopy]:
        told = (self._record("key.export", one.id, one.consumer) for one in records)
        await asyncio.gather(*told)
        return await super().copies(records)

    async def delete(self, key_id: str, expected: str = "") -> ChangeVerdict:
        await self._record("key.delete", key_id)
        return await super().delete(key_id, expected)

    @asynccontextmanager
    async def on_one_connection(self) -> AsyncIterator[KeyStore]:
        async with super().on_one_connection() as line:
            yield AuditedKeys(line._client, self._prefix, self._acts, self._on_unrecorded)

    async def _record(self, event: str, key_id: str, consumer: str = "") -> None:
        await self._acts.record(event, key_id=key_id, consumer=consumer)
