"""Reading key records from Redis; nothing here writes."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Self

from redis.asyncio import Redis

from gateway.domain.errors import StoreError
from gateway.domain.keys.record import KeyRecord, field_names, from_fields
from gateway.domain.units import DAY
from gateway.store.commands import (
    as_answer,
    ask_all,
    command,
    in_batches,
    number_or_none,
    redis_now,
    value_or_logged,
    value_or_none,
)
from gateway.store.connections.failures import translated
from gateway.store.connections.nodes import holders
from gateway.store.connections.scan import scan

# The admission script has the same number.
LAST_USE_SECONDS = 400 * DAY

# Without the tags: the gateway writes those by itself as keys are used, which is no change to
# operators.
REVISED = tuple(name for name in field_names() if name not in ("tag", "previous_tag"))


@dataclass(frozen=True, slots=True)
class LastUsed:
    """When the current and the previous secret were last admitted, in Unix seconds."""

    current: int | None = None
    previous: int | None = None


class KeyReader:
    """Reads `gw:key:{<id>}`. Every method raises StoreError if Redis cannot answer, or if the name
    holds something other than a record."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def name(self, key_id: str) -> str:
        return self._named("key", key_id)

    async def now(self) -> int:
        """Return the Unix second by Redis' clock."""
        return await redis_now(self._client)

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record as it is now, or None."""
        values = await command(self._client, "HMGET", self.name(key_id), *field_names())
        return read_record(key_id, values)

    async def revised(self, key_id: str) -> tuple[KeyRecord | None, str]:
        """Return the record as it is now and its revision, which `update` and `delete` compare."""
        values = await command(self._client, "HMGET", self.name(key_id), *field_names())
        return read_record(key_id, values), revision_of(values)

    async def last_used(self, key_id: str) -> LastUsed:
        (answer,) = await self._ask_of([key_id], "HMGET", "current", "previous", kind="used")
        values = value_or_logged(self._named("used", key_id), answer) or ()
        return LastUsed(*map(number_or_none, values))

    async def used_since(self, ids: Iterable[str], second: int) -> set[str]:
        """Return those ids of which a secret was admitted after this Unix second, or for which that
        is not known."""
        used = set[str]()
        for batch in in_batches(ids):
            answers = await self._ask_of(batch, "HMGET", "current", "previous", kind="used")
            for key_id, answer in zip(batch, answers, strict=True):
                values = value_or_logged(self._named("used", key_id), answer)
                if values is None or any((number_or_none(v) or 0) > second for v in values):
                    used.add(key_id)
        return used

    async def removed_at(self, key_id: str) -> int | None:
        """Return the Unix second at which Redis deletes the record by itself; None: never."""
        return (await self.removals([key_id])).get(key_id)

    async def removals(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the ids of the records that Redis deletes by itself, each with the Unix second."""
        answers = map(as_answer, await self._ask_of(ids, "EXPIRETIME"))
        return {key_id: second for key_id, second in zip(ids, answers, strict=True) if second >= 0}

    async def ids(self) -> list[str]:
        """Return the id of every record, once each and in order. There is no index: a name added or
        removed by hand counts at once. A key that exists throughout is never missed."""
        pattern = f"{escaped(self._prefix)}key:{{*}}"
        found: set[bytes] = set()
        async for names in scan(self._client, pattern):
            found.update(names)
        name = re.compile(re.escape(f"{self._prefix}key:".encode()) + rb"\{([0-9A-Za-z]{12})\}")
        return sorted(match[1].decode() for match in map(name.fullmatch, found) if match)

    async def read(self, ids: Iterable[str]) -> AsyncIterator[KeyRecord]:
        """Yield the records of these ids, in order, without those that are gone meanwhile."""
        for batch in in_batches(ids):
            answers = await self._ask_of(batch, "HMGET", *field_names())
            for key_id, values in zip(batch, answers, strict=True):
                record = record_or_none(key_id, values)
                if record is not None:
                    yield record

    async def consumers(self, ids: Iterable[str]) -> AsyncIterator[tuple[str, str]]:
        """Yield each id with its consumer, '' if there is none or no record, in less than half of
        the time that reading the records takes."""
        for batch in in_batches(ids):
            answers = await self._ask_of(batch, "HGET", "consumer")
            for key_id, value in zip(batch, map(value_or_none, answers), strict=True):
                yield key_id, (value or b"").decode(errors="replace")

    async def known(self, ids: Sequence[str]) -> dict[str, KeyRecord | None]:
        """Return the record of each id, or None if there is none. Ids whose cluster node cannot be
        asked are left out; StoreError if none can."""
        found: dict[str, KeyRecord | None] = {}
        last = None
        answers = await self._ask_of(ids, "HMGET", *field_names())
        for key_id, values in zip(ids, answers, strict=True):
            try:
                found[key_id] = record_or_none(key_id, values)
            except StoreError as problem:
                last = problem
        if last is not None and not found:
            raise last
        return found

    async def _ask_of(
        self, ids: Sequence[str], word: str, *more: str, kind: str = "key"
    ) -> list[Any]:
        return await ask_all(self._client, [(word, self._named(kind, i), *more) for i in ids])

    @asynccontextmanager
    async def on_one_connection(self) -> AsyncIterator[Self]:
        """Yield the same on a connection of its own, which `replicated` needs."""
        client = self._client.client()
        with translated():
            await client.initialize()
        line = copy(self)
        line._client = client
        try:
            yield line
        finally:
            await client.aclose()

    async def replicated(self, key_ids: Sequence[str], timeout_ms: int) -> bool | None:
        """Whether a replica has acknowledged this connection's writes to these keys, on each node
        that has replicas; None: there is no replica."""
        found = []
        with translated():
            for node in await holders(self._client, [self.name(key_id) for key_id in key_ids]):
                state = await node.execute_command("INFO", "replication")
                if state.get("connected_slaves"):
                    found.append(bool(await node.execute_command("WAIT", 1, timeout_ms)))
        return all(found) if found else None

    def _named(self, kind: str, key_id: str) -> str:
        return f"{self._prefix}{kind}:{{{key_id}}}"


def escaped(text: str) -> str:
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)


def record_or_none(key_id: str, answer: Sequence[bytes | None] | Exception) -> KeyRecord | None:
    """Return the record; None if there is none, or if the name holds another type."""
    values = value_or_none(answer)
    return None if values is None else read_record(key_id, values)


def read_record(key_id: str, values: Sequence[bytes | None]) -> KeyRecord | None:
    texts = {
        name: value.decode(errors="replace")
        for name, value in zip(field_names(), values, strict=True)
        if value is not None
    }
    return from_fields(key_id, texts) if texts else None


def revision_of(values: Sequence[bytes | None]) -> str:
    """Return a digest of the values of `field_names()`, byte for byte: equal until somebody changes
    the record. `scripts/change.lua` computes the same of the live record."""
    held = dict(zip(field_names(), values, strict=True))
    parts = (held[name] for name in REVISED)
    encoded = b",".join(b"-" if part is None else b"%d:%s" % (len(part), part) for part in parts)
    return sha1(encoded, usedforsecurity=False).hexdigest()
