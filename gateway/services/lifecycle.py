"""The life of a key after it was made: revoke, disable, enable, update, delete."""

from dataclasses import dataclass
from types import MappingProxyType

from gateway.domain.errors import OperationError, UsageError
from gateway.domain.key_fields import KeyFields
from gateway.domain.records import ACTIVE, DISABLED, REVOKED, KeyRecord
from gateway.store.keys import KeyStore

WAIT_MS = 500

_VERBS = MappingProxyType({REVOKED: "revoked", DISABLED: "disabled", ACTIVE: "enabled"})
_REFUSALS = MappingProxyType(
    {
        "missing": "There is no key {id}: see 'gateway keys list'.",
        "revoked": "Key {id} is revoked: 'gateway keys rotate {id}' gives it a new secret and "
        "makes it active again.",
        "no_secret": "The record of {id} has no hash, so there is nothing to enable: delete it "
        "with 'gateway keys delete {id}'.",
    }
)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """What became of one key. `outcome`: revoked, disabled, enabled, unchanged, deleted or
    refused; `note` is a sentence where there is more to say."""

    id: str
    outcome: str
    note: str = ""

    @property
    def refused(self) -> bool:
        return self.outcome == "refused"


async def set_status(keys: KeyStore, key_id: str, status: str) -> StatusChange:
    """Make a key `revoked`, `disabled` or `active`; a refusal is an outcome, not an error."""
    verdict = await keys.set_status(key_id, status)
    match verdict:
        case "done":
            return StatusChange(key_id, _VERBS[status])
        case "already":
            return StatusChange(key_id, "unchanged", f"Key {key_id} was {status} already.")
        case "deleted":
            return StatusChange(
                key_id,
                "deleted",
                f"Redis is full and refused to mark key {key_id} as revoked, so its record was "
                "deleted: its callers are told that the key is not valid.",
            )
        case _:
            return StatusChange(key_id, "refused", _REFUSALS[verdict].format(id=key_id))


@dataclass(frozen=True, slots=True)
class Revocation:
    """`replicated`: whether a replica has acknowledged; None where none is attached."""

    changes: tuple[StatusChange, ...]
    replicated: bool | None


async def revoke(keys: KeyStore, key_ids: list[str]) -> Revocation:
    """Revoke these keys, then wait until one replica, if there is any, has it too."""
    async with keys.on_one_connection() as line:
        changes = tuple([await set_status(line, key_id, REVOKED) for key_id in key_ids])
        return Revocation(changes, await line.replicated(WAIT_MS))


async def update(keys: KeyStore, key_id: str, fields: KeyFields) -> KeyRecord:
    """Set the given fields and return the record; OperationError where there is no such key."""
    values = fields.values()
    if not values:
        raise UsageError("Nothing to change was given: see 'gateway keys update --help'.")
    changed = await keys.update(key_id, values)
    record = await keys.get(key_id) if changed else None
    if record is None:
        raise OperationError(_REFUSALS["missing"].format(id=key_id))
    return record


async def delete(keys: KeyStore, key_id: str) -> StatusChange:
    """Remove the record and its counters."""
    if await keys.delete(key_id):
        return StatusChange(key_id, "deleted")
    return StatusChange(key_id, "refused", _REFUSALS["missing"].format(id=key_id))
