"""What may be told about a credential: everything but its values."""

from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.credentials import WARN_SECONDS, Credential


class State(StrEnum):
    OK = "ok"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class CredentialView:
    """Everything that may be told about a credential, without values. Times in Unix seconds.

    `grace_until`: when the previous version ends, None if there is none. `problem`: of a broken
    one.
    """

    name: str
    type: str = ""
    fields: tuple[str, ...] = ()
    version: int = 0
    state: State = State.BROKEN
    problem: str = ""
    expires_at: int | None = None
    max_stale: int | None = None
    grace_until: int | None = None
    created_at: int | None = None
    created_by: str = ""
    rotated_at: int | None = None
    master_key: str = ""


def state_of(credential: Credential, now: float) -> State:
    ends = credential.expires_at
    if ends is None or now < ends - WARN_SECONDS:
        return State.OK
    return State.EXPIRING if now < ends else State.EXPIRED
