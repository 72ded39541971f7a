"""One act on several keys: those that are named, or all of a consumer's."""

from collections.abc import AsyncIterator, Iterable, Sequence
from enum import StrEnum

from gateway.domain.errors import GatewayError, OperationError
from gateway.domain.keys.record import ACTIVE, DISABLED, REVOKED
from gateway.domain.keys.views import KeyView, State
from gateway.services.keys import lifecycle
from gateway.services.keys.audited import Keys
from gateway.services.keys.find import of_consumer
from gateway.services.keys.issue import REFUSALS, Issued, Issuer, digest
from gateway.services.keys.lifecycle import KeyChange, Revocation


class Act(StrEnum):
    REVOKE = "revoke"
    DISABLE = "disable"
    ENABLE = "enable"
    ROTATE = "rotate"

    def accepts(self, key: KeyView) -> bool:
        """Whether the act applies to this one of a consumer's keys.

        A revoked key is changed only if it is named: an act on a whole department must not bring
        back what somebody revoked. Nor may it remove a decoy from where thieves look.
        """
        if key.state in (State.REVOKED, State.CANARY):
            return False
        match self:
            case Act.DISABLE:
                return key.state is not State.DISABLED
            case Act.ENABLE:
                return key.state is State.DISABLED
            case Act.ROTATE:
                return key.state is not State.UNUSABLE
            case _:
                return True


async def all_of(keys: Keys, consumer: str, act: Act) -> list[KeyView]:
    """Return the consumer's keys that `act` applies to, in the order of ids; OperationError if it
    has no keys at all."""
    return [key for key in await of_consumer(keys, consumer) if act.accepts(key)]


async def change(keys: Keys, act: Act, ids: Sequence[str], *, dry_run: bool = False) -> Revocation:
    """Revoke, disable or enable each of these; a failure of one is its outcome."""
    if act is Act.REVOKE and not dry_run:
        return await lifecycle.revoke(keys, list(ids))
    status = {Act.REVOKE: REVOKED, Act.DISABLE: DISABLED, Act.ENABLE: ACTIVE}[act]
    changes = await lifecycle.set_status_of_all(keys, list(ids), status, dry_run=dry_run)
    return Revocation(tuple(changes), None)


async def would_rotate(keys: Keys, ids: Sequence[str]) -> list[KeyChange]:
    """Return what a rotation of each would come to."""
    hashes = {record.id: record.hash async for record in keys.read(ids)}
    return [_would_rotate(key_id, hashes.get(key_id)) for key_id in ids]


def _would_rotate(key_id: str, held: str | None) -> KeyChange:
    if held:
        return KeyChange(key_id, "would rotate")
    verdict = "missing" if held is None else "no_secret"
    return KeyChange(key_id, "refused", REFUSALS[verdict].format(id=key_id))


async def claimed(keys: Keys, marker: str, request: str, *about: str) -> list[str]:
    """Return what the first `request` with this idempotency key was about, so that a repeat acts on
    the same keys, and on none that was made since; OperationError if that was another request."""
    asked = digest(request)
    claim = await keys.claim(digest(marker), " ".join((asked, *about)), "bulk")
    first, *theirs = claim.split(" ")
    if first != asked:
        raise OperationError(REFUSALS["different"])
    return theirs


async def rotations(
    issuer: Issuer, ids: Iterable[str], grace: float, idempotency_key: str, *, revive: bool
) -> AsyncIterator[tuple[str, Issued | GatewayError]]:
    """Yield each id with its new key, or why it has none, as soon as that is known. `revive`: for
    keys that are named."""
    for key_id in ids:
        try:
            yield key_id, await issuer.rotate(key_id, grace, idempotency_key, revive=revive)
        except GatewayError as problem:
            yield key_id, problem
