"""Key records whose every change has its audit record first, and another if it came to nothing."""

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

_DONE = frozenset({"made", "replaced", "done", "already", "same", "deleted"})
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
        consumer = fields.get("consumer", "")
        await self._record("key.create", key_id, consumer)
        verdict, record = await super().create(key_id, secret, fields)
        await self._settle("key.create", key_id, consumer, verdict)
        return verdict, record

    async def rotate(
        self, key_id: str, secret: NewSecret, grace: int
    ) -> tuple[SecretVerdict, KeyRecord]:
        consumer = await self._consumer(key_id)
        await self._record("key.rotate", key_id, consumer)
        verdict, record = await super().rotate(key_id, secret, grace)
        await self._settle("key.rotate", key_id, consumer, verdict)
        return verdict, record

    async def set_status(self, key_id: str, status: str) -> StatusVerdict:
        event, recorded = _EVENTS.get(status, "key.status"), True
        consumer = await self._consumer(key_id)
        try:
            await self._record(event, key_id, consumer)
        except StoreError:
            if status != REVOKED:
                raise
            recorded = False
        verdict = await super().set_status(key_id, status)
        if recorded:
            await self._settle(event, key_id, consumer, verdict)
        else:
            self._on_unrecorded(key_id)
        return verdict

    async def update(
        self, key_id: str, fields: Mapping[str, str], expected: str = ""
    ) -> ChangeVerdict:
        consumer = await self._consumer(key_id)
        await self._record("key.update", key_id, consumer)
        verdict = await super().update(key_id, fields, expected)
        await self._settle("key.update", key_id, consumer, verdict)
        return verdict

    async def put(self, copy: KeyCopy, *, overwrite: bool, only_tell: bool) -> PutVerdict:
        key_id, consumer = copy.record.id, copy.record.told_consumer
        if not only_tell:
            await self._record("key.import", key_id, consumer)
        verdict = await super().put(copy, overwrite=overwrite, only_tell=only_tell)
        if not only_tell:
            await self._settle("key.import", key_id, consumer, verdict)
        return verdict

    async def copies(self, records: Sequence[KeyRecord]) -> list[KeyCopy]:
        told = (self._record("key.export", one.id, one.told_consumer) for one in records)
        await asyncio.gather(*told)
        return await super().copies(records)

    async def delete(self, key_id: str, expected: str = "") -> ChangeVerdict:
        consumer = await self._consumer(key_id)
        await self._record("key.delete", key_id, consumer)
        verdict = await super().delete(key_id, expected)
        await self._settle("key.delete", key_id, consumer, verdict)
        return verdict

    @asynccontextmanager
    async def on_one_connection(self) -> AsyncIterator[KeyStore]:
        async with super().on_one_connection() as line:
            yield AuditedKeys(line._client, self._prefix, self._acts, self._on_unrecorded)

    async def _consumer(self, key_id: str) -> str:
        """Whose key it is, as far as it can be told: nothing is held up for it."""
        try:
            record = await self.get(key_id)
        except StoreError:
            return ""
        return "" if record is None else record.told_consumer

    async def _record(self, event: str, key_id: str, consumer: str) -> None:
        await self._acts.record(event, key_id=key_id, consumer=consumer)

    async def _settle(self, event: str, key_id: str, consumer: str, verdict: str) -> None:
        if verdict not in _DONE:
            await self._acts.not_done(event, verdict, key_id=key_id, consumer=consumer)
