"""The life of a key after its creation: revoke, disable, enable, update, delete."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from gateway.domain.errors import ChangedError, StoreError, UsageError
from gateway.domain.keys.fields import KeyFields, check_limits
from gateway.domain.keys.record import ACTIVE, DISABLED, REVOKED, KeyRecord
from gateway.domain.keys.views import KeyView, State, view
from gateway.domain.policies.plans import Plan
from gateway.services.keys.audited import Keys
from gateway.services.keys.find import NO_KEY, REVOKED_KEY, no_key
from gateway.store.keys import ChangeVerdict

WAIT_MS = 500
CHANGED = "The key was changed meanwhile: look at it again."

_VERBS = MappingProxyType({REVOKED: "revoked", DISABLED: "disabled", ACTIVE: "enabled"})
_HINDRANCES = MappingProxyType(
    {
        State.REVOKED: REVOKED_KEY,
        State.DISABLED: "Key {id} is disabled: 'gateway keys enable {id}'.",
        State.EXPIRED: "Key {id} is expired: 'gateway keys update {id} --expires 30d'.",
        State.CANARY: "Key {id} is a decoy: its use is refused and told.",
        State.MISCONFIGURED: "Key {id} lets nobody in: 'gateway keys show {id}' says what is wrong "
        "with its record.",
    }
)
REFUSALS = MappingProxyType(
    {
        "missing": NO_KEY,
        "revoked": REVOKED_KEY,
        "canary": "Key {id} is a decoy and stays one: 'gateway keys delete {id}' removes it.",
        "no_secret": "The record of {id} has no hash, so no secret opens it: delete it with "
        "'gateway keys delete {id}' and create a new key.",
    }
)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The result for one key. `outcome`: revoked, disabled, enabled, rotated, unchanged, deleted or
    refused. `note`: a sentence if there is more to say."""

    id: str
    outcome: str
    note: str = ""

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"


def hindrance(key: KeyView) -> str:
    """Return what in its record keeps this key from working, and what to do; else empty."""
    return _HINDRANCES.get(key.state, "").format(id=key.id)


async def set_status(keys: Keys, key_id: str, status: str, *, dry_run: bool = False) -> KeyChange:
    """Make a key `revoked`, `disabled` or `active`; a refusal is an outcome, not an error."""
    verdict = await keys.set_status(key_id, status, dry_run=dry_run)
    match verdict:
        case "done" if dry_run:
            return KeyChange(key_id, f"would {_VERBS[status].removesuffix('d')}")
        case "done":
            return KeyChange(key_id, _VERBS[status], await _enabled_yet(keys, key_id, status))
        case "already":
            yet = await _enabled_yet(keys, key_id, status)
            note = f"Key {key_id} was {status} already. {yet}"
            return KeyChange(key_id, "unchanged", note.rstrip())
        case "deleted":
            return KeyChange(
                key_id,
                "deleted",
                f"Redis is full and refused to mark key {key_id} as revoked, so its record was "
                "deleted: its callers are told that the key is not valid.",
            )
        case _:
            return KeyChange(key_id, "refused", REFUSALS[verdict].format(id=key_id))


async def _enabled_yet(keys: Keys, key_id: str, status: str) -> str:
    """Return what still keeps an enabled key from working."""
    record = None
    if status == ACTIVE:
        # The key is enabled, even if its record cannot be read.
        with suppress(StoreError):
            record, now = await keys.get(key_id), await keys.now()
    return "" if record is None else hindrance(view(record, now))


async def set_status_of_all(
    keys: Keys, key_ids: list[str], status: str, *, dry_run: bool = False
) -> list[KeyChange]:
    """Set each key's status by itself: a failure of one is its outcome, and the others go on."""
    changes = []
    for key_id in key_ids:
        try:
            changes.append(await set_status(keys, key_id, status, dry_run=dry_run))
        except StoreError as problem:
            changes.append(KeyChange(key_id, "refused", f"Key {key_id}: {problem}"))
    return changes


@dataclass(frozen=True, slots=True)
class Revocation:
    """`replicated`: whether a replica has acknowledged; None if none is attached, or if there was
    nothing to replicate."""

    changes: tuple[KeyChange, ...]
    replicated: bool | None


async def revoke(keys: Keys, key_ids: list[str]) -> Revocation:
    """Revoke these keys, then wait until one replica, if there is any, has it too."""
    async with keys.on_one_connection() as line:
        changes = await set_status_of_all(line, key_ids, REVOKED)
        if all(change.refused for change in changes):
            return Revocation(tuple(changes), None)
        try:
            replicated = await line.replicated(key_ids, WAIT_MS)
        except StoreError:
            # The revocation is done; that it may not be replicated is only a warning.
            replicated = False
        return Revocation(tuple(changes), replicated)


async def update(
    keys: Keys,
    key_id: str,
    fields: KeyFields,
    expected: str = "",
    *,
    plans: Mapping[str, Plan] | None = None,
) -> tuple[KeyRecord, str]:
    """Set the given fields; return the record and its revision. MissingError if there is no such
    key, ChangedError if revisions are `expected` and it is at none of them, UsageError if its
    limits would make no sense under its plan. `plans` None: not known."""
    values = fields.values()
    if not values:
        raise UsageError(
            "Nothing to change was given: name at least one field, such as the scopes."
        )
    if plans is not None and values.keys() & {"plan", "limits"}:
        before = await keys.get(key_id)
        if before is not None:
            after = {"plan": before.plan, "limits": before.limits, **values}
            check_limits(after["plan"], after["limits"], plans)
    _check_unchanged(await keys.update(key_id, values, expected))
    record, revision = await keys.revised(key_id)
    if record is None:
        raise no_key(key_id)
    return record, revision


async def delete(keys: Keys, key_id: str, expected: str = "") -> KeyChange:
    """Remove the record and its counters; ChangedError as in `update`."""
    verdict = await keys.delete(key_id, expected)
    _check_unchanged(verdict)
    if verdict == "done":
        return KeyChange(key_id, "deleted")
    return KeyChange(key_id, "refused", str(no_key(key_id)))


def _check_unchanged(verdict: ChangeVerdict) -> None:
    if verdict == "changed":
        raise ChangedError(CHANGED)
