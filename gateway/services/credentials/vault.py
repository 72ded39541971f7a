"""Operators' acts on credentials: set, rotate, delete, list, rewrap. Values are never returned."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from gateway.crypto.envelope import (
    BrokenCredentialError,
    Envelope,
    latest_version,
    master_ids,
)
from gateway.domain.audit.events import Event
from gateway.domain.credentials import (
    Credential,
    CredentialId,
    Version,
    renewed,
    without_empty,
)
from gateway.domain.errors import MissingError, OperationError, StoreError, UsageError
from gateway.domain.nearest import nearest
from gateway.domain.policies.mentions import unmet
from gateway.domain.policies.problems import Problem
from gateway.domain.policies.snapshot import Policies
from gateway.services.credentials.usable import check_usable
from gateway.services.credentials.views import CredentialView, State, state_of
from gateway.store.vault import VaultStore
from gateway.tasks import cooperatively

# A record that changes between every read and its write is being written by a program.
ATTEMPTS = 5
# This many records tell whether the given keys are those of this vault.
SAMPLE = 20
# This many are decrypted before other work has its turn: some milliseconds.
IN_ONE_TURN = 100


class Record(Protocol):
    """Takes an act's event, such as `credential.set`, the credential, and the version that is made.
    `code`: why an act that is on record was not done."""

    async def __call__(
        self, event: Event, name: CredentialId, version: int, code: str = ""
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Rewrapped:
    name: CredentialId
    outcome: str
    problem: str = ""


class Vault:
    """Every method raises StoreError if Redis cannot answer, OperationError if it refuses.

    `record` is called before each act, which is not done if `record` raises, and once more if
    somebody else was faster.
    """

    def __init__(self, store: VaultStore, envelope: Envelope, record: Record) -> None:
        self._store = store
        self._envelope = envelope
        self._record = record

    async def now(self) -> int:
        return await self._store.now()

    async def set(self, wanted: Credential) -> CredentialView:
        """Write a credential, new or in place of another, with all its values, type and times."""
        _check(wanted)
        await self._check_keys()
        now = await self._store.now()
        before = await self._store.get(wanted.id)
        number = await self._next_number(wanted.id, before)
        fields = without_empty(wanted.type, wanted.current.fields)
        made = replace(wanted, current=Version(number, fields), previous=None, created_at=now)
        return await self._write("credential.set", made, before, now)

    async def rotate(
        self,
        name: CredentialId,
        fields: Mapping[str, str],
        grace: int,
        *,
        expires_at: int | None = None,
        keep_expiry: bool = True,
    ) -> CredentialView:
        """Write new values for these fields, keep the others; the old live on for `grace`
        seconds."""
        if not fields:
            raise UsageError("A rotation needs a new value of at least one field.")
        now = await self._store.now()
        before = await self._read(name)
        old = self._envelope.open(name, before)
        current = Version(old.current.number + 1, renewed(old.type, old.current.fields, fields))
        made = replace(
            old,
            current=current,
            previous=replace(old.current, until=now + grace) if grace else None,
            expires_at=old.expires_at if keep_expiry else expires_at,
            rotated_at=now,
        )
        _check(made)
        return await self._write("credential.rotate", made, before, now)

    async def delete(self, name: CredentialId) -> None:
        record = await self._read(name)
        version = latest_version(record)
        delete = partial(self._store.delete, name, record, version)
        if not await self._act("credential.delete", name, version, delete):
            # If somebody else deleted it, this raises MissingError.
            await self._read(name)
            raise _changed(name)

    async def show(self, name: CredentialId) -> CredentialView:
        record = await self._read(name)
        return self._view(name, record, await self._store.now())

    async def names(self) -> list[CredentialId]:
        """Return the names of all credentials, shared ones first, without decrypting any. One that
        is being deleted may be among them."""
        return sorted(await self._written(), key=order)

    async def all(self) -> list[CredentialView]:
        """Return every credential in the order of names, shared ones first."""
        return await self.views(await self.names())

    async def views(self, ids: Sequence[CredentialId]) -> list[CredentialView]:
        """Return the views of these, in this order, without those that do not exist."""
        now = await self._store.now()
        records = await self._store.read_written(ids)
        there = (name for name in ids if name in records)
        return [
            self._view(name, records[name], now) async for name in cooperatively(there, IN_ONE_TURN)
        ]

    async def problems(self, policies: Policies) -> tuple[Problem, ...]:
        """Return the mentions of credentials that `policies` cannot use. Credentials that cannot be
        decrypted here are assumed to be good."""
        if not policies.mentions:
            return ()
        known = {
            view.name: None if view.state is State.BROKEN else (view.type, view.fields)
            for view in await self.all()
        }
        return unmet(policies.mentions, known)

    async def type_of(self, name: CredentialId) -> str:
        """Return the type; OperationError if there is none, or it cannot be decrypted."""
        return self._envelope.open(name, await self._read(name)).type

    async def rewrap(self) -> AsyncIterator[Rewrapped]:
        """Encrypt anew each record that is not under the current master key alone; leave the
        others.

        Each record is read, decrypted, encrypted and put in place of what was read. So this can be
        killed at any point and run again, and others may write at the same time.
        """
        if not self._envelope.keys.ids:
            raise OperationError("There is no master key: set GATEWAY_MASTER_KEY_FILE.")
        for name in await self._written():
            result = await self._rewrap(name)
            if result is not None:
                yield result

    async def _rewrap(self, name: CredentialId) -> Rewrapped | None:
        for _ in range(ATTEMPTS):
            record = await self._store.get(name)
            if record is None:
                return None
            now = await self._store.now()
            try:
                opened = self._envelope.open(name, record)
            except BrokenCredentialError as problem:
                return Rewrapped(name, "refused", str(problem))
            previous = opened.previous_at(now)
            if master_ids(record) == {self._envelope.keys.ids[0]} and previous is opened.previous:
                return Rewrapped(name, "already")
            sealed = self._envelope.seal(replace(opened, previous=previous))
            put = partial(self._store.put, name, sealed, record)
            if await self._act("credential.rewrap", name, opened.current.number, put):
                return Rewrapped(name, "rewrapped")
        return Rewrapped(
            name, "refused", f"Credential '{name}' changes all the time: run it again."
        )

    async def _written(self) -> list[CredentialId]:
        """Return every credential that is not deleted, with the last one written at the end."""
        ids = [name for name, _ in (await self._store.written_since(0)).ids]
        deleted = await self._store.last_versions(ids)
        return [name for name, version in zip(ids, deleted, strict=True) if version is None]

    async def _read(self, name: CredentialId) -> bytes:
        """Return the record, empty if it is lost; MissingError if there is no such credential."""
        record = await self._store.get(name)
        if record is None and name not in (written := await self._written()):
            # Another user's is never what was meant, and the user's id would make all alike.
            meant = nearest(name.name, [one.name for one in written if one.owner == name.owner])
            hint = f" Did you mean '{replace(name, name=meant)}'?" if meant else ""
            raise MissingError(f"There is no credential '{name}'.{hint}")
        return record or b""

    async def _next_number(self, name: CredentialId, before: bytes | None) -> int:
        if before is not None:
            return latest_version(before) + 1
        (gone,) = await self._store.last_versions([name])
        return (gone or 0) + 1

    async def _act(
        self, event: Event, name: CredentialId, version: int, work: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Record an act and do it; False if somebody else has written meanwhile."""
        await self._record(event, name, version)
        done = await work()
        if not done:
            # If this cannot be written, nothing changes.
            with suppress(StoreError):
                await self._record(event, name, version, "changed")
        return done

    async def _write(
        self, event: Event, made: Credential, before: bytes | None, now: int
    ) -> CredentialView:
        record = self._envelope.seal(made)
        put = partial(self._store.put, made.id, record, before)
        if not await self._act(event, made.id, made.current.number, put):
            raise _changed(made.id)
        return self._view(made.id, record, now)

    async def _check_keys(self) -> None:
        """Refuse to fill a vault with records that its own gateways could not decrypt."""
        records = await self._store.read((await self._written())[-SAMPLE:])
        needed = frozenset[str]().union(*map(master_ids, records.values()))
        if needed and not needed & set(self._envelope.keys.ids):
            raise OperationError(self._envelope.keys.mismatch(needed))

    def _view(self, name: CredentialId, record: bytes, now: int) -> CredentialView:
        try:
            found = self._envelope.open(name, record)
        except BrokenCredentialError as problem:
            return CredentialView(str(name), problem=str(problem))
        previous = found.previous_at(now)
        return CredentialView(
            str(name),
            found.type,
            tuple(found.current.fields),
            found.current.number,
            state_of(found, now),
            "",
            found.expires_at,
            found.max_stale,
            previous.until if previous else None,
            found.created_at,
            found.created_by,
            found.rotated_at,
            " ".join(sorted(master_ids(record))),
        )


def _changed(name: CredentialId) -> OperationError:
    return OperationError(
        f"Somebody else has changed the credential '{name}' at this moment: look at it, and do it "
        "again if it is still wanted."
    )


def _check(credential: Credential) -> None:
    try:
        check_usable(credential.type, credential.current.fields)
    except ValueError as problem:
        sentence = str(problem)
        raise UsageError(f"{sentence[0].upper()}{sentence[1:]}.") from None


def order(name: CredentialId) -> tuple[str, str]:
    """Order shared credentials first, then by user, by name."""
    return name.owner, name.name
