"""Whether a request that was let in would still be let in, asked again while its answer flows."""

from dataclasses import dataclass, field

from gateway.domain.errors import Code, Denied, scope_denied
from gateway.domain.keys.judgement import (
    MisconfiguredError,
    check_consistent,
    may_act_for,
    why_dead,
)
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import Scope, parse_all
from gateway.services.admission.authenticate import live_hashes


@dataclass(frozen=True, slots=True)
class Standing:
    """`proven`: the hash that the secret matched. `user` None: it acts for nobody. `owned`: names
    of users' own credentials that the answer is made with."""

    key_id: str
    proven: str = field(repr=False)
    scope: Scope | None
    user: str | None
    owned: tuple[str, ...] = ()

    def lost(self, record: KeyRecord | None, now: float) -> Denied | None:
        """Return how such a request would be refused now; limits are ignored, because it has been
        charged. A plan that is gone affects only the next request: requests in progress keep their
        policies."""
        if record is None:
            return Denied(Code.KEY_INVALID)
        if (code := why_dead(record, now)) is not None:
            return Denied(code)
        try:
            check_consistent(record)
        except MisconfiguredError:
            return Denied(Code.KEY_MISCONFIGURED)
        if all(candidate.phc != self.proven for candidate in live_hashes(record, now)):
            return Denied(Code.KEY_INVALID)
        if self.scope is not None and not parse_all(record.scopes).allow(self.scope):
            return scope_denied(str(self.scope))
        if self.user is not None and not may_act_for(record.users, self.user):
            return Denied(Code.USER_DENIED)
        return None
