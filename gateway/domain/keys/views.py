"""The public view of a key: everything in its record except hashes and tags."""

from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.domain.errors import Code
from gateway.domain.keys.judgement import (
    MisconfiguredError,
    check_consistent,
    previous_lives,
    why_dead,
)
from gateway.domain.keys.key import masked
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord, field_names, unix_time, words


class State(StrEnum):
    """The state of a key, as a request with the right secret would meet it."""

    ACTIVE = "active"
    REVOKED = "revoked"
    DISABLED = "disabled"
    EXPIRED = "expired"
    CANARY = "canary"
    MISCONFIGURED = "misconfigured"
    UNUSABLE = "unusable"


_DEAD = {
    Code.KEY_INVALID: State.CANARY,
    Code.KEY_REVOKED: State.REVOKED,
    Code.KEY_DISABLED: State.DISABLED,
    Code.KEY_EXPIRED: State.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class KeyView:
    """The public side of a record. Times in Unix seconds, None if not set.

    `status` is what the record says, `state` what follows from it now. `grace_until`: when the
    previous secret of a rotation stops working, None if none works.
    """

    id: str
    consumer: str
    label: str
    scopes: tuple[str, ...]
    plan: str | None
    limits: str
    users: tuple[str, ...]
    env: str
    last4: str
    status: str
    state: State
    problem: str
    expires_at: int | None
    grace_until: int | None
    created_at: int | None
    created_by: str
    rotated_at: int | None
    revoked_at: int | None


def view(record: KeyRecord, now: int) -> KeyView:
    """Return the view of `record`. All text is masked, because an operator who writes by hand may
    have pasted a key anywhere."""
    problem = _problem(record)
    shown = replace(record, **{name: masked(getattr(record, name)) for name in field_names()})
    return KeyView(
        id=record.id,
        consumer=shown.consumer,
        label=shown.label,
        scopes=words(shown.scopes),
        plan=shown.plan or None,
        limits=shown.limits,
        users=words(shown.users),
        env=shown.env,
        last4=shown.last4,
        status=shown.status,
        state=_state(record, problem, now),
        problem=masked(problem),
        expires_at=unix_time(record.expires_at),
        grace_until=_grace_until(record, now),
        created_at=unix_time(record.created_at),
        created_by=shown.created_by,
        rotated_at=unix_time(record.rotated_at),
        revoked_at=unix_time(record.revoked_at),
    )


def _problem(record: KeyRecord) -> str:
    if not acceptable(record.hash):
        return "the record has no usable hash, so no secret opens it"
    try:
        check_consistent(record)
    except MisconfiguredError as problem:
        return str(problem)
    return ""


def _state(record: KeyRecord, problem: str, now: int) -> State:
    if not acceptable(record.hash):
        return State.UNUSABLE
    code = why_dead(record, now)
    if code is not None:
        return _DEAD[code]
    return State.MISCONFIGURED if problem else State.ACTIVE


def _grace_until(record: KeyRecord, now: int) -> int | None:
    return unix_time(record.previous_expires_at) if previous_lives(record, now) else None
