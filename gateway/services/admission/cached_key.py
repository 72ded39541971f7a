"""What one process remembers of a key. It is never trusted, only sent along to be compared.

The admission script decides nothing on a cached record that differs from the live one. So no cached
key outlives a revocation; it only saves a second round trip.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import ReferenceType, ref

from gateway.domain.errors import DENIALS, Code, Denied, scope_denied
from gateway.domain.keys.judgement import NamedLimit, binding_limits, may_act_for, valid_until
from gateway.domain.keys.key import masked
from gateway.domain.keys.limit_headers import LimitFields, limit_fields
from gateway.domain.keys.limits import Tokens
from gateway.domain.keys.record import KeyRecord, words
from gateway.domain.keys.scopes import Grants, Scope, parse, parse_all
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.snapshot import Agent, Model, Policies
from gateway.protocol.http.request import RequestHead
from gateway.protocol.http.upstream_request import identity_block
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.locate import Located, Place
from gateway.store.admission import Admission

MAX_ACCESSES = 2048
TOUCH_SECONDS = 60.0
_SCOPE_DENIED = DENIALS[Code.SCOPE_DENIED].name


@dataclass(slots=True)
class Access:
    """The access of one key to one action of an agent: packed commands and header lines, each made
    once.

    `missing`: the first scope that the key lacks; None: none, or the place needs an unknown one.
    `leases`: the sets in which a call holds a lease; if there are any, a lease id is appended to
    the charging command. `tokens`: the limits that are charged once it is known how many tokens the
    call took. `tried`: the code with which a route that is not enforced would refuse this key;
    empty: none would.

    `check` charges nothing. It is sent when the cached record says no, so that denials too are
    decided on the live record. `check` and `charge` are empty until they are needed: many keys come
    only once.
    """

    allowed: bool
    missing: Scope | None
    limits: tuple[NamedLimit, ...]
    leases: tuple[str, ...]
    tokens: tuple[NamedLimit, ...]
    limit_fields: LimitFields
    identity: bytes
    tried: str = ""
    check: bytes = b""
    charge: bytes = b""


@dataclass(slots=True)
class CachedKey:
    """A record as it was last read, the hash that was proven, and what follows under `policies`.
    `consumer` is masked for display.

    `policies` is a weak reference: cached keys that nobody uses any more would keep every old set
    of policies alive.
    """

    record: KeyRecord
    proven: Candidate
    policies: ReferenceType[Policies]
    plans: Mapping[str, Plan]
    grants: Grants
    consumer: str
    accesses: dict[Place, Access] = field(default_factory=dict)
    touched_at: float = float("-inf")

    def add_access(self, located: Located, admission: Admission) -> Access:
        """Make and remember a new access."""
        if len(self.accesses) >= MAX_ACCESSES:
            self.accesses.clear()
        access = self.accesses[located.place] = self._access(located, admission)
        return access

    def pack_check(self, access: Access, admission: Admission) -> bytes:
        access.check = self._packed(admission, ())
        return access.check

    def pack_charge(self, access: Access, admission: Admission) -> bytes:
        access.charge = self._packed(admission, access.limits)
        return access.charge

    def pack_touch(self, access: Access, admission: Admission) -> bytes:
        """Like `pack_charge`, noting the key's use. Sent once a minute, so it is not kept."""
        return self._packed(admission, access.limits, self.proven.slot)

    def pack_use(self, admission: Admission) -> bytes:
        """Note the key's use where nothing is charged."""
        return self._packed(admission, (), self.proven.slot)

    def _packed(
        self, admission: Admission, limits: tuple[NamedLimit, ...], touch: str = ""
    ) -> bytes:
        record, slot = self.record, self.proven.slot
        until = valid_until(record, by_previous=slot is Slot.PREVIOUS)
        return admission.pack_charge(record, limits, valid_until=until, touch=touch)

    def denial(self, access: Access, located: Located, head: RequestHead) -> Denied | None:
        """Return what stands against the request before its limits, in the contract's order."""
        if located.denied is not None:
            return located.denied
        if not access.allowed:
            return scope_denied(str(access.missing))
        if head.user is not None and not may_act_for(self.record.users, head.user):
            return Denied(Code.USER_DENIED)
        if head.content_length and located.callee is not None:
            most = located.callee.max_body
            if most is not None and head.content_length > most:
                return Denied(Code.BODY_TOO_LARGE)
        return None

    def takes_touch(self, clock: Callable[[], float]) -> bool:
        """Whether to note this use of the key: at most once a minute in this process."""
        now = clock()
        if now - self.touched_at < TOUCH_SECONDS:
            return False
        self.touched_at = now
        return True

    def _access(self, located: Located, admission: Admission) -> Access:
        # A plan's limits at single agents are for agents, even if a service has the same name.
        callee = located.callee
        agent = callee.name if isinstance(callee, Agent) else ""
        record = self.record
        limits = binding_limits(record, self.plans, agent, of_model=isinstance(callee, Model))
        needed = located.scopes
        return Access(
            allowed=located.any_key or (bool(needed) and all(map(self.grants.allow, needed))),
            missing=next((scope for scope in needed if not self.grants.allow(scope)), None),
            limits=limits,
            leases=admission.lease_names(record.id, limits),
            tokens=tuple(named for named in limits if isinstance(named.limit, Tokens)),
            limit_fields=limit_fields(tuple(named for named in limits if named.enforced)),
            identity=identity_block(
                [
                    ("X-Gateway-Key-Id", record.id),
                    ("X-Gateway-Consumer", self.consumer),
                    ("X-Gateway-Agent", agent),
                    ("X-Gateway-Scopes", masked(" ".join(filter(parse, words(record.scopes))))),
                ]
            ),
            tried=self._tried(located),
        )

    def _tried(self, located: Located) -> str:
        tried = located.tried
        return "" if tried is None or self.grants.allow(tried) else _SCOPE_DENIED


def cached_key(record: KeyRecord, proven: Candidate, policies: Policies) -> CachedKey:
    """Return what to cache of a record just read; MisconfiguredError if it is senseless."""
    binding_limits(record, policies.plans, None)
    grants = parse_all(record.scopes)
    return CachedKey(record, proven, ref(policies), policies.plans, grants, record.told_consumer)
