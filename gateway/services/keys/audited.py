"""Changes of key records, each with its audit record first, and another one if it was not done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from redis.asyncio import Redis

from gateway.domain.audit.events import Event
from gateway.domain.errors import StoreError
from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.key import masked
from gateway.domain.keys.record import ACTIVE, DISABLED, REVOKED, KeyRecord
from gateway.services.audit.acts import Acts
from gateway.store.key_reader import KeyReader
from gateway.store.keys import (
    ChangeVerdict,
    KeyStore,
    NewSecret,
    PutVerdict,
    SecretVerdict,
    StatusVerdict,
)

_DONE = frozenset({"made", "replaced", "done", "already", "same", "deleted"})
_EVENTS: Mapping[str, Event] = MappingProxyType(
    {REVOKED: "key.revoke", DISABLED: "key.disable", ACTIVE: "key.enable"}
)

Result = TypeVar("Result", bound=str | tuple[str, KeyRecord])


class AuditedKeys(KeyReader):
    """Each change is one of `acts`; this class offers no unrecorded way to the store's writes. A
    change that cannot be recorded is not made, except a revocation, which is never held up:
    `on_unrecorded` gets its key id."""

    def __init__(
        self, client: Redis, prefix: str, acts: Acts, on_unrecorded: Callable[[str], object]
    ) -> None:
        super().__init__(client, prefix)
        self._acts = acts
        self._on_unrecorded = on_unrecorded

    async def claim(self, request: str, about: str, verb: str = "create") -> str:
        """Like `KeyStore.claim`. It is not on record, because it changes no key."""
        return await self._store.claim(request, about, verb)

    async def create(
        self, key_id: str, secret: NewSecret, fields: Mapping[str, str]
    ) -> tuple[SecretVerdict, KeyRecord]:
        work = partial(self._store.create, key_id, secret, fields)
        return await self._act("key.create", key_id, masked(fields.get("consumer", "")), work)

    async def rotate(
        self, key_id: str, secret: NewSecret, grace: int, *, revive: bool = True
    ) -> tuple[SecretVerdict, KeyRecord]:
        work = partial(self._store.rotate, key_id, secret, grace, revive=revive)
        return await self._act("key.rotate", key_id, await self._consumer(key_id), work)

    async def set_status(self, key_id: str, status: str, *, dry_run: bool = False) -> StatusVerdict:
        if dry_run:
            return await self._store.set_status(key_id, status, dry_run=True)
        event, recorded = _EVENTS[status], True
        consumer = await self._consumer(key_id)
        try:
            await self._record(event, key_id, consumer)
        except StoreError:
            if status != REVOKED:
                raise
            recorded = False
        verdict = await self._store.set_status(key_id, status)
        if recorded:
            await self._settle(event, key_id, consumer, verdict)
        else:
            self._on_unrecorded(key_id)
        return verdict

    async def update(
        self, key_id: str, fields: Mapping[str, str], expected: str = ""
    ) -> ChangeVerdict:
        work = partial(self._store.update, key_id, fields, expected)
        return await self._act("key.update", key_id, await self._consumer(key_id), work)

    async def put(self, copy: KeyCopy, *, overwrite: bool, dry_run: bool) -> PutVerdict:
        work = partial(self._store.put, copy, overwrite=overwrite, dry_run=dry_run)
        if dry_run:
            return await work()
        return await self._act("key.import", copy.record.id, copy.record.told_consumer, work)

    async def copies(self, records: Sequence[KeyRecord]) -> list[KeyCopy]:
        await asyncio.gather(
            *(self._record("key.export", one.id, one.told_consumer) for one in records)
        )
        return await self._store.copies(records)

    async def delete(self, key_id: str, expected: str = "") -> ChangeVerdict:
        work = partial(self._store.delete, key_id, expected)
        return await self._act("key.delete", key_id, await self._consumer(key_id), work)

    @property
    def _store(self) -> KeyStore:
        """The store, on the connection that reads use."""
        return KeyStore(self._client, self._prefix)

    async def _act(
        self, event: Event, key_id: str, consumer: str, work: Callable[[], Awaitable[Result]]
    ) -> Result:
        await self._record(event, key_id, consumer)
        result = await work()
        verdict = result if isinstance(result, str) else result[0]
        await self._settle(event, key_id, consumer, verdict)
        return result

    async def _consumer(self, key_id: str) -> str:
        """Return the key's consumer, or '' if it cannot be read: no act waits for it."""
        try:
            record = await self.get(key_id)
        except StoreError:
            return ""
        return "" if record is None else record.told_consumer

    async def _record(self, event: Event, key_id: str, consumer: str) -> None:
        await self._acts.record(event, key_id=key_id, consumer=consumer)

    async def _settle(self, event: Event, key_id: str, consumer: str, verdict: str) -> None:
        if verdict not in _DONE:
            await self._acts.not_done(event, verdict, key_id=key_id, consumer=consumer)


# For code that changes keys, whether on record or not.
Keys = KeyStore | AuditedKeys
