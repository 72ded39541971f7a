"""Key records in Redis: every write is one script that sees the record as it is now.

Two operators at once never lose a field, and no write brings back a key that was deleted
meanwhile. All names that one script touches share the hash tag `{id}`, hence a slot.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from gateway.domain.errors import StoreError
from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.record import ALWAYS_WRITTEN, REVOKED, KeyRecord, field_names, from_fields
from gateway.store.commands import command, run
from gateway.store.connections.cluster import holders
from gateway.store.connections.failures import StoreFullError, translated
from gateway.store.connections.scan import scan
from gateway.store.key_answers import (
    REVISED,
    as_answer,
    read_record,
    record_or_none,
    revision_of,
    value_or_none,
)

IDEMPOTENCY_SECONDS = 600
BATCH = 500
COUNTERS = ("rate", "quota", "lease", "used")
# What EXPIRETIME says of a name that is not there.
GONE = -2

SecretVerdict = Literal[
    "made", "replaced", "taken", "different", "changed", "gone", "missing", "no_secret"
]
StatusVerdict = Literal["done", "already", "missing", "revoked", "canary", "no_secret", "deleted"]
ChangeVerdict = Literal["done", "missing", "changed"]
PutVerdict = Literal["made", "same", "replaced", "taken", "revoked", "ended", "strange"]


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What Redis keeps of a secret, and what makes a lost answer harmless.

    `marker` is the last part of the idempotency marker's name (empty: none); `request` a digest
    of what was asked for, so that one marker never serves two different requests.
    """

    hash: str
    tag: str
    last4: str
    marker: str = ""
    request: str = ""

    def __repr__(self) -> str:
        return f"NewSecret(last4={self.last4!r})"


@dataclass(frozen=True, slots=True)
class LastUsed:
    """When the current and the previous secret were last admitted, in Unix seconds."""

    current: int | None = None
    previous: int | None = None


class KeyStore:
    """Reads and writes `gw:key:{<id>}`. Every method raises StoreError where Redis cannot answer,
    or where the name holds something other than a record."""

    def __init__(self, client: Redis, prefix: str = "gw:") -> None:
        self._client = client
        self._prefix = prefix

    def name(self, key_id: str) -> str:
        return self._named("key", key_id)

    async def now(self) -> int:
        """Redis' own clock, in Unix seconds."""
        with translated():
            seconds, _ = await self._client.time()
        return int(seconds)

    async def get(self, key_id: str) -> KeyRecord | None:
        """The record as it is now, or None."""
        values = await command(self._client, "HMGET", self.name(key_id), *field_names())
        return read_record(key_id, values)

    async def revised(self, key_id: str) -> tuple[KeyRecord | None, str]:
        """The record as it is now, and its revision: what `update` and `delete` compare."""
        values = await command(self._client, "HMGET", self.name(key_id), *field_names())
        return read_record(key_id, values), revision_of(values)

    async def last_used(self, key_id: str) -> LastUsed:
        values = await command(
            self._client, "HMGET", self._named("used", key_id), "current", "previous"
        )
        return LastUsed(*(int(value) if value and value.isdigit() else None for value in values))

    async def removed_at(self, key_id: str) -> int | None:
        """The Unix second in which Redis removes the record by itself; None: never."""
        second: int = await command(self._client, "EXPIRETIME", self.name(key_id))
        return second if second >= 0 else None

    async def claim(self, request: str, about: str, verb: str = "create") -> str:
        """The ids that the request with this digest is about: `about`, or those that the same
        request claimed less than ten minutes ago."""
        name = self._named("idem", f"{verb}:{request}")
        # One command, so that of two at once both learn the same.
        words = ("SET", name, about, "NX", "GET", "EX", IDEMPOTENCY_SECONDS)
        earlier = await command(self._client, *words, get=True)
        return earlier.decode(errors="replace") if earlier else about

    async def create(
        self, key_id: str, secret: NewSecret, fields: Mapping[str, str]
    ) -> tuple[SecretVerdict, KeyRecord]:
        """A new active record. `taken`: the id exists and stays as it is.

        With a marker: `replaced` (a repeat: only the secret is new), `different` (the marker is
        of another request), `changed` or `gone` (somebody acted on the key since).
        """
        pairs = [part for pair in fields.items() for part in pair]
        return await self._write_secret("create", (self.name(key_id),), key_id, secret, pairs)

    async def rotate(
        self, key_id: str, secret: NewSecret, grace: int
    ) -> tuple[SecretVerdict, KeyRecord]:
        """A new secret for an id; the old one lives on for `grace` seconds if the key is alive."""
        names = self.name(key_id), self._named("used", key_id)
        return await self._write_secret("rotate", names, key_id, secret, [f"{grace:d}"])

    async def set_status(self, key_id: str, status: str) -> StatusVerdict:
        """`revoked`, `disabled` or `active`.

        Where Redis is full and refuses the write, a revocation deletes the record instead
        (`deleted`): that needs no memory, and the key has to be dead.
        """
        try:
            verdict: bytes = await run(self._client, "status", [self.name(key_id)], [status])
        except StoreFullError:
            if status != REVOKED:
                raise
            # This one, whoever inherits: a full server takes no record of it either.
            done = await KeyStore.delete(self, key_id) == "done"
            return "deleted" if done else "missing"
        return cast(StatusVerdict, verdict.decode())

    async def update(
        self, key_id: str, fields: Mapping[str, str], expected: str = ""
    ) -> ChangeVerdict:
        """Set these fields and no other. `expected`: revisions, of which the record has to be at
        one in the same moment, else `changed`; empty: any."""
        pairs = [part for pair in fields.items() for part in pair]
        return await self._change(key_id, expected, pairs)

    async def put(self, copy: KeyCopy, *, overwrite: bool, only_tell: bool) -> PutVerdict:
        """The record as it was somewhere else. `taken`: another is here, and stays unless
        `overwrite`; `revoked`: it would live again; `strange`: no record is here, but something."""
        record = copy.record
        ends = "" if copy.removed_at is None else f"{copy.removed_at:d}"
        pairs = [part for name in field_names() for part in (name, getattr(record, name))]
        names = self.name(record.id), self._named("used", record.id)
        arguments = [f"{overwrite:d}", f"{only_tell:d}", ends, " ".join(ALWAYS_WRITTEN), *pairs]
        verdict: bytes = await run(self._client, "put", names, arguments)
        return cast(PutVerdict, verdict.decode())

    async def copies(self, records: Sequence[KeyRecord]) -> list[KeyCopy]:
        """These records, each with the second in which Redis removes it by itself; those gone
        meanwhile are left out."""
        ends = await self._ask_of([r.id for r in records], "EXPIRETIME")
        found = []
        for record, end in zip(records, ends, strict=True):
            second = as_answer(end)
            if second != GONE:
                found.append(KeyCopy(record, second if second >= 0 else None))
        return found

    async def delete(self, key_id: str, expected: str = "") -> ChangeVerdict:
        """Remove the record and its counters. `expected`: as for `update`.

        The record goes first and by itself: from then on nothing is admitted, so no counter
        is made anew while the rest is searched for.
        """
        if expected:
            verdict = await self._change(key_id, expected, ())
        else:
            # The bare command works wherever anything works, in a full Redis too.
            existed = await command(self._client, "DEL", self.name(key_id))
            verdict = "done" if existed else "missing"
        if verdict == "changed":
            return verdict
        pattern = f"{_escaped(self._prefix)}*:{{{key_id}}}*"
        wanted = tuple(self._named(kind, key_id).encode() for kind in COUNTERS)
        async for names in scan(self._client, pattern):
            counters = [name for name in names if name.startswith(wanted)]
            if counters:
                await command(self._client, "UNLINK", *counters)
        return verdict

    async def write_tag(
        self, key_id: str, phc: str, tag: str, known_pids: Iterable[str], previous: bool
    ) -> bool:
        """Put `tag` beside the hash it is of; False where that hash is gone, or where the tag
        of a pepper that is not in `known_pids` is there already."""
        prefix = "previous_" if previous else ""
        arguments = [f"{prefix}hash", f"{prefix}tag", phc, tag, *known_pids]
        return bool(await run(self._client, "write_tag", [self.name(key_id)], arguments))

    async def ids(self) -> list[str]:
        """The id of every record, once each and in order. No index: a name made or removed by
        hand counts at once. A key that lives throughout is never missed."""
        pattern = f"{_escaped(self._prefix)}key:{{*}}"
        found: set[bytes] = set()
        async for names in scan(self._client, pattern):
            found.update(names)
        name = re.compile(re.escape(f"{self._prefix}key:".encode()) + rb"\{([0-9A-Za-z]{12})\}")
        return sorted(match[1].decode() for match in map(name.fullmatch, found) if match)

    async def read(self, ids: Iterable[str]) -> AsyncIterator[KeyRecord]:
        """The records of these ids, in order; those gone meanwhile are left out."""
        remaining = iter(ids)
        while batch := list(islice(remaining, BATCH)):
            for key_id, values in zip(
                batch, await self._ask_of(batch, "HMGET", *field_names()), strict=True
            ):
                record = record_or_none(key_id, values)
                if record is not None:
                    yield record

    async def consumers(self, ids: Iterable[str]) -> AsyncIterator[tuple[str, str]]:
        """Each id with its consumer, '' where there is none or no record: in less than half of the
        time that reading the records takes."""
        remaining = iter(ids)
        while batch := list(islice(remaining, BATCH)):
            answers = await self._ask_of(batch, "HGET", "consumer")
            for key_id, value in zip(batch, map(value_or_none, answers), strict=True):
                yield key_id, (value or b"").decode(errors="replace")

    async def known(self, ids: Sequence[str]) -> dict[str, KeyRecord | None]:
        """The record of each id, or None where there is none. Those whose node in a cluster cannot
        be asked are left out; StoreError where none can."""
        found: dict[str, KeyRecord | None] = {}
        last = None
        for key_id, values in zip(
            ids, await self._ask_of(ids, "HMGET", *field_names()), strict=True
        ):
            try:
                found[key_id] = record_or_none(key_id, values)
            except StoreError as problem:
                last = problem
        if last is not None and not found:
            raise last
        return found

    async def _ask_of(self, ids: Sequence[str], word: str, *more: str) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key_id in ids:
            pipeline.execute_command(word, self.name(key_id), *more, **{NEVER_DECODE: True})
        with translated():
            return await pipeline.execute(raise_on_error=False)

    @asynccontextmanager
    async def on_one_connection(self) -> AsyncIterator["KeyStore"]:
        """This store on a connection of its own, which `replicated` needs."""
        client = self._client.client()
        with translated():
            await client.initialize()
        try:
            yield KeyStore(client, self._prefix)
        finally:
            await client.aclose()

    async def replicated(self, key_ids: Sequence[str], timeout_ms: int) -> bool | None:
        """Whether a replica has the writes made on this connection to these keys, of each node
        that has replicas; None: there is no replica."""
        found = []
        with translated():
            for node in await holders(self._client, [self.name(key_id) for key_id in key_ids]):
                state = await node.execute_command("INFO", "replication")
                if state.get("connected_slaves"):
                    found.append(bool(await node.execute_command("WAIT", 1, timeout_ms)))
        return all(found) if found else None

    async def _change(self, key_id: str, expected: str, pairs: Sequence[str]) -> ChangeVerdict:
        words = [expected, " ".join(REVISED), *pairs]
        verdict: bytes = await run(self._client, "change", [self.name(key_id)], words)
        return cast(ChangeVerdict, verdict.decode())

    async def _write_secret(
        self,
        script: str,
        names: Sequence[str],
        key_id: str,
        secret: NewSecret,
        more: Sequence[str],
    ) -> tuple[SecretVerdict, KeyRecord]:
        if secret.marker:
            names = (*names, f"{self._named('idem', key_id)}:{secret.marker}")
        arguments = [str(IDEMPOTENCY_SECONDS), secret.request, secret.hash, secret.tag]
        verdict, flat = await run(self._client, script, names, [*arguments, secret.last4, *more])
        texts = [part.decode(errors="replace") for part in flat]
        record = from_fields(key_id, dict(zip(texts[::2], texts[1::2], strict=True)))
        return cast(SecretVerdict, verdict.decode()), record

    def _named(self, kind: str, key_id: str) -> str:
        return f"{self._prefix}{kind}:{{{key_id}}}"


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)
