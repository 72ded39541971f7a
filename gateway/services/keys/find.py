"""Finding keys: pages, filters, single keys. There is no index that could become stale."""

from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.domain.errors import MissingError, OperationError
from gateway.domain.keys import scopes
from gateway.domain.keys.judgement import why_dead
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Scope
from gateway.domain.keys.views import KeyView, State, view
from gateway.domain.nearest import nearest
from gateway.store.commands import in_batches
from gateway.store.key_reader import KeyReader

NO_KEY = "There is no key {id}: see 'gateway keys list'."
REVOKED_KEY = (
    "Key {id} is revoked: 'gateway keys rotate {id}' gives it a new secret and makes it active "
    "again."
)


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys are wanted; an item that is None does not filter.

    `state`: what a request would meet, or the bare status of a record without a hash. `scope`: keys
    that grant it. `expiring_within`: not expired now, and expired this many seconds from now.
    `unused_for`: at least this many seconds old, and not used during them.
    """

    consumer: str | None = None
    state: str | None = None
    scope: Scope | None = None
    expiring_within: float | None = None
    unused_for: float | None = None

    def accepts(self, record: KeyRecord, key: KeyView, now: int) -> bool:
        return (
            (self.consumer is None or key.consumer == self.consumer)
            and (self.state is None or self._has_state(key))
            and (self.scope is None or scopes.parse_all(record.scopes).allow(self.scope))
            and (self.expiring_within is None or self._ends_soon(key, now))
            and (self.unused_for is None or (key.created_at or 0) <= now - self.unused_for)
        )

    def _has_state(self, key: KeyView) -> bool:
        bare = key.state is State.UNUSABLE and self.state == key.status
        return bare or self.state == key.state

    def _ends_soon(self, key: KeyView, now: int) -> bool:
        ends, within = key.expires_at, self.expiring_within
        return ends is not None and within is not None and now < ends <= now + within


@dataclass(frozen=True, slots=True)
class Page:
    """`next`: the `after` of the next call; None: that was all."""

    keys: tuple[KeyView, ...]
    next: str | None


async def page(keys: KeyReader, wanted: KeyFilter, *, limit: int, after: str = "") -> Page:
    """Return at most `limit` keys in the order of ids, starting after the id `after`.

    Each page reads the keys as they are now. Over all pages, a key that exists throughout appears
    exactly once, whatever is added or removed meanwhile.
    """
    now = await keys.now()
    ids = await keys.ids()
    found: list[KeyView] = []
    async for record in _candidates(keys, wanted, ids[bisect_right(ids, after) :], now):
        key = view(record, now)
        if wanted.accepts(record, key, now):
            found.append(key)
        if len(found) > limit:
            return Page(tuple(found[:limit]), found[limit - 1].id)
    return Page(tuple(found), None)


async def scan_records(keys: KeyReader, wanted: KeyFilter) -> AsyncIterator[KeyRecord]:
    """Yield every record that passes the filter, in the order of ids."""
    now = await keys.now()
    async for record in _candidates(keys, wanted, await keys.ids(), now):
        if wanted.accepts(record, view(record, now), now):
            yield record


async def _candidates(
    keys: KeyReader, wanted: KeyFilter, ids: list[str], now: int
) -> AsyncIterator[KeyRecord]:
    """Yield records in order, among them all that pass the filter."""
    if wanted.unused_for is not None:
        used = await keys.used_since(ids, now - int(wanted.unused_for))
        ids = [key_id for key_id in ids if key_id not in used]
    if wanted.consumer is None:
        async for record in keys.read(ids):
            yield record
        return
    # In parts, so that a full page ends the search.
    for batch in in_batches(ids):
        consumers = keys.consumers(batch)
        theirs = [key_id async for key_id, consumer in consumers if consumer == wanted.consumer]
        async for record in keys.read(theirs):
            yield record


async def living(keys: KeyReader) -> AsyncIterator[KeyRecord]:
    """Yield the records of keys that would be let in now, in the order of ids."""
    now = await keys.now()
    async for record in keys.read(await keys.ids()):
        if acceptable(record.hash) and why_dead(record, now) is None:
            yield record


async def of_consumer(keys: KeyReader, consumer: str) -> list[KeyView]:
    """Return the views of a consumer's keys, in the order of ids; OperationError if it has none."""
    theirs: list[str] = []
    consumers: set[str] = set()
    async for key_id, name in keys.consumers(await keys.ids()):
        consumers.add(name)
        if name == consumer:
            theirs.append(key_id)
    now = await keys.now()
    views = [view(record, now) async for record in keys.read(theirs)]
    found = [key for key in views if key.consumer == consumer]
    if not found:
        near = nearest(consumer, consumers)
        hint = f" Did you mean {near!r}?" if near else " See 'gateway keys list'."
        raise OperationError(f"No key belongs to {consumer!r}.{hint}")
    return found


async def find_key(keys: KeyReader, key_id: str) -> KeyRecord:
    """Return the record of this id; MissingError if there is none."""
    record = await keys.get(key_id)
    if record is None:
        raise no_key(key_id)
    return record


def no_key(key_id: str) -> MissingError:
    return MissingError(NO_KEY.format(id=key_id))
