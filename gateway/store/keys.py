"""Writing key records to Redis: each write is one script that sees the record as it is now.

Two operators at once never lose a field, and no write recreates a key that was deleted meanwhile.
All names that one script touches share the hash tag `{id}`, hence a slot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from gateway.domain.keys.copies import KeyCopy
from gateway.domain.keys.record import ALWAYS_WRITTEN, REVOKED, KeyRecord, field_names, from_fields
from gateway.store.commands import as_answer, command, run
from gateway.store.connections.failures import StoreFullError
from gateway.store.connections.scan import scan
from gateway.store.key_reader import REVISED, KeyReader, escaped

IDEMPOTENCY_SECONDS = 600
COUNTERS = ("rate", "quota", "lease", "used")
# The reply of EXPIRETIME for a name that does not exist.
NO_SUCH_NAME = -2

SecretVerdict = Literal[
    "made", "replaced", "taken", "different", "changed", "gone", "missing", "no_secret", "revoked"
]
StatusVerdict = Literal["done", "already", "missing", "revoked", "canary", "no_secret", "deleted"]
ChangeVerdict = Literal["done", "missing", "changed"]
PutVerdict = Literal["made", "same", "replaced", "taken", "revoked", "ended", "strange"]


@dataclass(frozen=True, slots=True)
class NewSecret:
    """What Redis keeps of a secret, and the idempotency marker that makes a lost answer harmless.

    `marker`: the last part of the marker's name (empty: none); `request`: a digest of the request,
    so that one marker never serves two different requests.
    """

    hash: str
    tag: str
    last4: str
    marker: str = ""
    request: str = ""

    def __repr__(self) -> str:
        return f"NewSecret(last4={self.last4!r})"


class KeyStore(KeyReader):
    """Also writes records, without audit records: `AuditedKeys` adds those for operators."""

    async def claim(self, request: str, about: str, verb: str = "create") -> str:
        """Return the ids that the request with this digest is about: `about`, or those that the
        same request claimed less than ten minutes ago."""
        name = self._named("idem", f"{verb}:{request}")
        # One command, so that two requests at once get the same ids.
        words = ("SET", name, about, "NX", "GET", "EX", IDEMPOTENCY_SECONDS)
        earlier = await command(self._client, *words, get=True)
        return earlier.decode(errors="replace") if earlier else about

    async def create(
        self, key_id: str, secret: NewSecret, fields: Mapping[str, str]
    ) -> tuple[SecretVerdict, KeyRecord]:
        """Write a new active record. `taken`: the id exists and is left alone.

        With a marker: `replaced` (a repeat: only the secret is new), `different` (the marker is of
        another request), `changed` or `gone` (somebody changed or deleted the key since).
        """
        pairs = [part for pair in fields.items() for part in pair]
        return await self._write_secret("create", (self.name(key_id),), key_id, secret, pairs)

    async def rotate(
        self, key_id: str, secret: NewSecret, grace: int, *, revive: bool = True
    ) -> tuple[SecretVerdict, KeyRecord]:
        """Write a new secret; the old one works for `grace` more seconds if the key is alive.

        Not `revive`: a revoked key is left as it is (`revoked`).
        """
        names = self.name(key_id), self._named("used", key_id)
        return await self._write_secret(
            "rotate", names, key_id, secret, [f"{grace:d}", f"{revive:d}"]
        )

    async def set_status(self, key_id: str, status: str, *, dry_run: bool = False) -> StatusVerdict:
        """Set `revoked`, `disabled` or `active`; `dry_run`: only return the verdict.

        If Redis is full and refuses the write, a revocation deletes the record instead (`deleted`):
        that needs no memory, and the key must be dead.
        """
        arguments = [status, f"{dry_run:d}"]
        try:
            verdict: bytes = await run(self._client, "status", [self.name(key_id)], arguments)
        except StoreFullError:
            if status != REVOKED:
                raise
            done = await self.delete(key_id) == "done"
            return "deleted" if done else "missing"
        return cast(StatusVerdict, verdict.decode())

    async def update(
        self, key_id: str, fields: Mapping[str, str], expected: str = ""
    ) -> ChangeVerdict:
        """Set these fields and no others. `expected`: revisions, one of which the record must be at
        when it is written, else `changed`; empty: any."""
        pairs = [part for pair in fields.items() for part in pair]
        return await self._change(key_id, expected, pairs)

    async def put(self, copy: KeyCopy, *, overwrite: bool, dry_run: bool) -> PutVerdict:
        """Write a record as it was on another gateway. `taken`: another record is here and stays,
        unless `overwrite`. `revoked`: the import would revive a revoked key. `strange`: the name
        holds something other than a record."""
        record = copy.record
        ends = "" if copy.removed_at is None else f"{copy.removed_at:d}"
        pairs = [part for name in field_names() for part in (name, getattr(record, name))]
        names = self.name(record.id), self._named("used", record.id)
        arguments = [f"{overwrite:d}", f"{dry_run:d}", ends, " ".join(ALWAYS_WRITTEN), *pairs]
        verdict: bytes = await run(self._client, "put", names, arguments)
        return cast(PutVerdict, verdict.decode())

    async def copies(self, records: Sequence[KeyRecord]) -> list[KeyCopy]:
        """Return these records, each with the second at which Redis deletes it by itself, without
        those gone meanwhile."""
        ends = await self._ask_of([r.id for r in records], "EXPIRETIME")
        found = []
        for record, end in zip(records, ends, strict=True):
            second = as_answer(end)
            if second != NO_SUCH_NAME:
                found.append(KeyCopy(record, second if second >= 0 else None))
        return found

    async def delete(self, key_id: str, expected: str = "") -> ChangeVerdict:
        """Remove the record and its counters. `expected`: as for `update`.

        The record goes first, by itself: from then on nothing is admitted, so no counter is created
        anew while the counters are searched for.
        """
        if expected:
            verdict = await self._change(key_id, expected, ())
        else:
            # The bare command works whenever Redis answers at all, even when it is full.
            existed = await command(self._client, "DEL", self.name(key_id))
            verdict = "done" if existed else "missing"
        if verdict == "changed":
            return verdict
        pattern = f"{escaped(self._prefix)}*:{{{key_id}}}*"
        wanted = tuple(self._named(kind, key_id).encode() for kind in COUNTERS)
        async for names in scan(self._client, pattern):
            counters = [name for name in names if name.startswith(wanted)]
            if counters:
                await command(self._client, "UNLINK", *counters)
        return verdict

    async def write_tag(
        self, key_id: str, phc: str, tag: str, known_pids: Iterable[str], previous: bool
    ) -> bool:
        """Write `tag` beside the hash that it is of; False if that hash is gone, or if there is
        already a tag of a pepper that is not in `known_pids`."""
        prefix = "previous_" if previous else ""
        arguments = [f"{prefix}hash", f"{prefix}tag", phc, tag, *known_pids]
        return bool(await run(self._client, "write_tag", [self.name(key_id)], arguments))

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
