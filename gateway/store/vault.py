"""Encrypted credential records in Redis: `gw:cred:{vault}:…`, all in one slot.

`item:<id>`: a whole record; `revision`: grows with every write; `changes`: each id with the
revision of its last write, including deletions, so that a poll reads only what is newer; `gone`:
the last version number of each deleted credential; `news`: a stream whose entries have revisions as
their ids, for those who wait for the next.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha1

from redis.asyncio import Redis

from gateway.domain.credentials import CredentialId, parse_id
from gateway.store.commands import command, in_batches, redis_now, run
from gateway.timers import timeout

# For how long Redis holds back a reply at most.
LONGEST_WAIT = 30.0
# How much longer its reply may take. A Redis whose machine is gone would never reply.
SLACK = 1.0
# The largest revision that a score holds exactly. A larger one was stored by somebody else.
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class Written:
    """What was written after some revision: each id with the revision of its last write. `at`: Unix
    seconds by Redis' clock."""

    revision: int
    ids: tuple[tuple[CredentialId, int], ...]
    at: float


class VaultStore:
    """Every method raises StoreError if Redis cannot answer."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._base = _base(prefix)

    def name(self, credential: CredentialId) -> str:
        return f"{self._base}item:{credential}"

    async def now(self) -> int:
        return await redis_now(self._client)

    async def written_since(self, revision: int) -> Written:
        """Return the vault's revision and what was written after `revision`, read at one moment."""
        names = (f"{self._base}revision", f"{self._base}changes")
        now, flat, clock = await run(self._client, "credential_changes", names, (f"{revision:d}",))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        found = [(_id(member), float(score)) for member, score in pairs]
        ids = ((i, int(score)) for i, score in found if i is not None and score <= _MOST)
        return Written(_number(now), tuple(ids), int(clock[0]) + int(clock[1]) / 1e6)

    async def read(self, ids: Iterable[CredentialId]) -> dict[CredentialId, bytes]:
        """Return the records of these ids, without those that do not exist."""
        found: dict[CredentialId, bytes] = {}
        for batch in in_batches(ids):
            values = await command(self._client, "MGET", *map(self.name, batch))
            found |= {i: v for i, v in zip(batch, values, strict=True) if v is not None}
        return found

    async def read_written(self, ids: Collection[CredentialId]) -> dict[CredentialId, bytes]:
        """Return the records of these ids, all of which were written once, without those that were
        deleted. Empty: the record is gone or of another type in Redis, and no command did that."""
        found = await self.read(ids)
        missing = [i for i in ids if i not in found]
        versions = await self.last_versions(missing)
        return found | {i: b"" for i, v in zip(missing, versions, strict=True) if v is None}

    async def get(self, credential: CredentialId) -> bytes | None:
        return (await self.read([credential])).get(credential)

    async def put(self, credential: CredentialId, record: bytes, before: bytes | None) -> bool:
        """Write `record` in place of `before`; False if another record is there by now."""
        return await self._write(credential, before or b"", record)

    async def delete(self, credential: CredentialId, record: bytes, version: int) -> bool:
        """Delete `record`; False if another one is there. `version`: its last version number."""
        return await self._write(credential, record, b"", f"{version:d}")

    async def last_versions(self, ids: Iterable[CredentialId]) -> list[int | None]:
        """Return each id's version when it was deleted; None: it was not deleted."""
        found: list[bytes | None] = []
        for batch in in_batches(map(str, ids)):
            found += await command(self._client, "HMGET", f"{self._base}gone", *batch)
        return [None if value is None else _number(value) for value in found]

    async def _write(self, credential: CredentialId, before: bytes, *new: bytes | str) -> bool:
        rest = (f"{self._base}{name}" for name in ("revision", "changes", "gone", "news"))
        names = (self.name(credential), *rest)
        arguments = (_digest(before), str(credential), *new)
        return bool(await run(self._client, "credential_write", names, arguments))


class VaultNews:
    """Waits for writes. `client`: one of its own, whose replies may be held back LONGEST_WAIT."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._name = f"{_base(prefix)}news"

    async def after(self, revision: int, seconds: float) -> int:
        """Wait for a write after `revision` and return its own; `revision` if there was none in so
        many seconds, or in LONGEST_WAIT. StoreError if Redis cannot answer."""
        seconds = min(seconds, LONGEST_WAIT)
        # Entries that somebody added by hand may have this revision too, and are no news.
        last = f"{revision}-{2**64 - 1}"
        words = ("XREAD", "BLOCK", math.ceil(seconds * 1000), "STREAMS", self._name, last)
        try:
            async with timeout(seconds + SLACK):
                found = await command(self._client, *words)
        except TimeoutError:
            return revision
        if not found:
            return revision
        # As RESP3 has it, or RESP2: the URL may ask for either.
        entries = next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1]
        return int(entries[-1][0].partition(b"-")[0])


def _base(prefix: str) -> str:
    return f"{prefix}cred:{{vault}}:"


def _digest(record: bytes) -> str:
    return sha1(record, usedforsecurity=False).hexdigest() if record else ""


def _number(value: bytes | None) -> int:
    number = int(value) if value and value.isdigit() and len(value) <= len(str(_MOST)) else 0
    return number if number <= _MOST else 0


def _id(member: bytes) -> CredentialId | None:
    """Return the id; None if somebody stored something of their own there."""
    try:
        return parse_id(member.decode("ascii", "replace"))
    except ValueError:
        return None
