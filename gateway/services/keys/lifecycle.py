"""The life of a key after it was made: revoke, disable, enable, update, delete."""

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
from gateway.services.keys.find import NO_KEY, no_key
from gateway.store.keys import ChangeVerdict

WAIT_MS = 500
CHANGED = "The key was changed meanwhile: look at it again."

_VERBS = MappingProxyType({REVOKED: "revoked", DISABLED: "disabled", ACTIVE: "enabled"})
_REVOKED = (
    "Key {id} is revoked: 'gateway keys rotate {id}' gives it a new secret and makes it active "
    "again."
)
_HINDRANCES = MappingProxyType(
    {
        State.REVOKED: _REVOKED,
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
        "revoked": _REVOKED,
        "canary": "Key {id} is a decoy and stays one: 'gateway keys delete {id}' removes it.",
        "no_secret": "The record of {id} has no hash, so no secret opens it: delete it with "
        "'gateway keys delete {id}' and create a new key.",
    }
)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What became of one key. `outcome`: revoked, disabled, enabled, rotated, unchanged, deleted
    or refused; `note` is a sentence where there is more to say."""

    id: str
    outcome: str
    note: str = ""

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"


def hindrance(key: KeyView) -> str:
    """What keeps this key from working, and what to do about it; empty: nothing in its record."""
    return _HINDRANCES.get(key.state, "").format(id=key.id)


async def set_status(keys: Keys, key_id: str, status: str) -> KeyChange:
    """Make a key `revoked`, `disabled` or `active`; a refusal is an outcome, not an error."""
    verdict = await keys.set_status(key_id, status)
    match verdict:
        case "done":
            return KeyChange(key_id, _VERBS[status], await _enabled_yet(keys, key_id, status))
        case "already":
            said = f"Key {key_id} was {status} already."
            yet = await _enabled_yet(keys, key_id, status)
            return KeyChange(key_id, "unchanged", f"{said} {yet}".rstrip())
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
    """What keeps a key from working that was enabled."""
    record = None
    if status == ACTIVE:
        # It is enabled, whether or not more can be told.
        with suppress(StoreError):
            record, now = await keys.get(key_id), await keys.now()
    return "" if record is None else hindrance(view(record, now))


async def set_status_of_all(keys: Keys, key_ids: list[str], status: str) -> list[KeyChange]:
    """Each key by itself: what fails for one is its outcome, and the others go on."""
    changes = []
    for key_id in key_ids:
        try:
            changes.append(await set_status(keys, key_id, status))
        except StoreError as problem:
            changes.append(KeyChange(key_id, "refused", f"Key {key_id}: {problem}"))
    return changes


@dataclass(frozen=True, slots=True)
class Revocation:
    """`replicated`: whether a replica has acknowledged; None where none is attached, or where there
    is nothing that could be."""

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
            # The revocation is done; that nobody can say where it has arrived is a warning.
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
    """Set the given fields and return the record and its revision; MissingError where there is no
    such key, ChangedError where it is at none of the `expected` revisions, if any are given,
    UsageError where its limits would make no sense under its plan. `plans` None: they are not
    known."""
    values = fields.values()
    if not values:
        raise UsageError("Nothing to change was given: see 'gateway keys update --help'.")
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
