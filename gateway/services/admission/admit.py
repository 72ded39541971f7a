"""The decision on one request: plain data in, a passage or a denial out.

It sees no socket and no HTTP library, so the listener can change without it.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway.crypto.token_digest import TokenDigest
from gateway.domain.errors import DENIALS, Code, Denied, StoreError, drop_traceback, limited
from gateway.domain.keys.judgement import MisconfiguredError, check_consistent, why_dead
from gateway.domain.keys.key import Key, masked, parse
from gateway.domain.keys.record import CANARY, KeyRecord
from gateway.domain.policies.snapshot import Policies
from gateway.log import Seldom, log
from gateway.protocol.http.request import RequestHead
from gateway.protocol.http.upstream_request import identity_block
from gateway.services.admission.authenticate import Authenticator, Candidate, live_hashes
from gateway.services.admission.cached_key import Access, CachedKey, cached_key
from gateway.services.admission.key_cache import KeyCache
from gateway.services.admission.leases import Leases
from gateway.services.admission.locate import Located
from gateway.services.admission.passage import NO_GRANTS, Identity, Passage
from gateway.store.admission import (
    Admission,
    Answer,
    Charged,
    CounterError,
    Exceeded,
    Lease,
    Stale,
    with_lease,
)

# A record that changes between every read and its charge is being written by a program.
ATTEMPTS = 4
REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Clocks:
    """`monotonic`: seconds; `unix`: the wall clock, only for the length of a month in a header."""

    monotonic: Callable[[], float]
    unix: Callable[[], float]


def presented_token(head: RequestHead) -> bytes:
    """Return the request's one candidate for a key; Denied(key_missing or key_invalid)."""
    if not head.keys:
        raise Denied(Code.KEY_INVALID if head.other_credential else Code.KEY_MISSING)
    if len(head.keys) > 1:
        raise Denied(Code.KEY_INVALID)
    return head.keys[0]


def whole_key(token: bytes) -> Key:
    """Return the key in `token`; Denied(key_invalid) if its shape or its check is wrong."""
    key = parse(token.decode("latin-1"))
    if key is None:
        raise Denied(Code.KEY_INVALID)
    return key


class Gatekeeper:
    """Decides on requests that need a key."""

    def __init__(
        self, authenticator: Authenticator, admission: Admission, leases: Leases, clocks: Clocks
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._leases = leases
        self._clocks = clocks
        self._lately_away = Seldom(clocks.monotonic)
        self._digest = TokenDigest()
        self._proofs: OrderedDict[bytes, Candidate] = OrderedDict()
        self._cache = KeyCache(admission)

    async def admit(
        self, head: RequestHead, located: Located, policies: Policies, address: str
    ) -> Passage:
        """Return the passage of a request to `located`, or Denied as the contract orders it."""
        token = presented_token(head)
        digest = self._digest(token)
        try:
            cached = self._cached(digest, policies)
            if cached is None:
                return await self._admit(token, digest, None, head, located, policies, address)
            outcome = await self._charge(cached, head, located)
            if isinstance(outcome, Passage):
                return outcome
            return await self._admit(token, digest, outcome, head, located, policies, address)
        except MisconfiguredError as problem:
            log.warning("key_misconfigured", key_id=problem.record.id, reason=str(problem))
            raise _attributed(problem.record, Denied(Code.KEY_MISCONFIGURED)) from None
        except StoreError as problem:
            self._log_store_away(str(problem))
            raise Denied(Code.STORE_UNAVAILABLE, retry_after=1) from None

    async def identify(
        self, head: RequestHead, policies: Policies, address: str, *, is_use: bool = False
    ) -> Identity:
        """Return whose key a request carries and what it may do, before its body tells what it asks
        for. Denied as by `admit` if the key is not valid or not alive; nothing is charged.
        `is_use`: no `admit` follows, which would note the key's use."""
        identified = Denied(Code.NOT_FOUND)
        try:
            await self.admit(head, Located(None, b"", denied=identified), policies, address)
        except Denied as denied:
            cached = self._cache.get(self._digest(presented_token(head)))
            if denied is identified and cached is not None:
                # Its frames hold `located`, which holds it: a cycle that would keep the caller's
                # body until a collection.
                drop_traceback(identified)
                if is_use and cached.takes_touch(self._clocks.monotonic):
                    use = cached.pack_use(self._admission)
                    with suppress(StoreError):
                        await self._admission.run(cached.record.id, use)
                record, proven = cached.record, cached.proven.phc
                return Identity(record.id, cached.consumer, cached.grants, record.users, proven)
            raise
        return Identity("", "", NO_GRANTS, "", "")

    def _log_store_away(self, reason: str) -> None:
        """Log it once a second at most: every request fails, and each is in the access log."""
        if self._lately_away.due():
            log.warning("store_unavailable", reason=reason)

    async def _admit(
        self,
        token: bytes,
        digest: bytes,
        read: Stale | None,
        head: RequestHead,
        located: Located,
        policies: Policies,
        address: str,
    ) -> Passage:
        """Admit without a usable cached key; `read` is the record if it was just read. A token that
        was proven before needs no look at its shape, so it is parsed only here."""
        key = whole_key(token)
        for _ in range(ATTEMPTS):
            if read is None:
                read = await self._read(key.id)
            cached = await self._authenticate(key, digest, read, policies, address)
            access = self._cache.access(cached, located)
            denied = cached.denial(access, located, head)
            if denied is not None:
                raise _attributed(cached.record, denied)
            outcome = await self._charge(cached, head, located)
            if isinstance(outcome, Passage):
                return outcome
            read = outcome
        raise StoreError("The record changes faster than it can be read.")

    async def _charge(
        self, cached: CachedKey, head: RequestHead, located: Located
    ) -> Passage | Stale:
        access = self._cache.access(cached, located)
        denied = cached.denial(access, located, head)
        if denied is not None:
            command = access.check or cached.pack_check(access, self._admission)
        elif cached.takes_touch(self._clocks.monotonic):
            command = cached.pack_touch(access, self._admission)
        else:
            command = access.charge or cached.pack_charge(access, self._admission)
        record, lease = cached.record, None
        try:
            if denied is None and access.leases:
                answer, lease = await self._run_with_lease(record.id, command, access)
            else:
                answer = await self._admission.run(record.id, command)
        except CounterError as problem:
            raise MisconfiguredError(record, str(problem)) from None
        if isinstance(answer, Stale):
            return answer
        if denied is not None:
            raise _attributed(record, denied)
        if isinstance(answer, Exceeded):
            raise _attributed(record, self._exceeded(access, answer))
        identity = access.identity
        if head.user is not None:
            identity += identity_block([("X-Gateway-User", head.user)])
        limits = b""
        if answer.states:
            limits = access.limit_fields.lines(answer.states, self._clocks.unix())
        proven = cached.proven.phc
        return Passage(
            record.id,
            cached.consumer,
            proven,
            identity,
            limits,
            lease,
            access.tokens,
            cached.grants,
            access.tried or shadow_code(access, answer.exceeded),
        )

    async def _run_with_lease(
        self, key_id: str, command: bytes, access: Access
    ) -> tuple[Answer, Lease | None]:
        lease = self._leases.acquire(access.leases)
        try:
            answer = await self._admission.run(key_id, with_lease(command, lease.id))
        except BaseException:
            # The caller may have left, or the reply may be lost: the lease may have been taken all
            # the same.
            self._leases.release(lease)
            raise
        if isinstance(answer, Charged):
            return answer, lease
        self._leases.forget(lease)
        return answer, None

    def release(self, passage: Passage) -> None:
        """Release the lease once the answer to this request has ended, in whatever way."""
        if passage.lease is not None:
            self._leases.release(passage.lease)

    async def _read(self, key_id: str) -> Stale:
        answer = await self._admission.run(key_id, self._admission.pack_read(key_id))
        if not isinstance(answer, Stale):
            raise StoreError("Redis answered something that the admission script never says.")
        return answer

    def _cached(self, digest: bytes, policies: Policies) -> CachedKey | None:
        """Return the cached key under these policies, or None if the record has to be read
        first."""
        cached = self._cache.get(digest)
        if cached is None or cached.policies() is policies:
            return cached
        try:
            renewed = cached_key(cached.record, cached.proven, policies)
        except MisconfiguredError:
            return None
        return self._cache.keep(digest, renewed)

    async def _authenticate(
        self, key: Key, digest: bytes, read: Stale, policies: Policies, address: str
    ) -> CachedKey:
        """Judge a record that was just read; Denied unless its secret matches and it is alive."""
        record = read.record
        proven = _still_proven(self._proofs.get(digest), read)
        if proven is None:
            proven = await self._authenticator.prove(key, digest, record, read.now, address)
            self._remember(digest, proven)
        code = why_dead(record, read.now)
        if code is not None:
            decoy = f"key:{record.id}" if record.status == CANARY else ""
            raise _attributed(record, Denied(code, decoy=decoy))
        check_consistent(record)
        cached = cached_key(record, proven, policies)
        if cached.grants.unparsed:
            ignored = tuple(map(masked, cached.grants.unparsed))
            log.warning("scope_ignored", key_id=key.id, scopes=ignored)
        return self._cache.keep(digest, cached)

    def _remember(self, digest: bytes, proven: Candidate) -> None:
        self._proofs[digest] = proven
        if len(self._proofs) > REMEMBERED:
            self._proofs.popitem(last=False)

    def _exceeded(self, access: Access, answer: Exceeded) -> Denied:
        named = access.limits[answer.position - 1]
        states = answer.states
        headers = access.limit_fields.pairs(states, self._clocks.unix()) if states else ()
        return limited(named.denial, answer.retry_after, named.label, named.most, headers)


def shadow_code(access: Access, position: int) -> str:
    """Return the code that the limit at `position` would refuse with if it were enforced."""
    return DENIALS[access.limits[position - 1].denial].name if position else ""


def _attributed(record: KeyRecord, denied: Denied) -> Denied:
    """Return `denied` with the name of the proven key."""
    denied.key_id, denied.consumer = record.id, record.told_consumer
    return denied


def _still_proven(old: Candidate | None, read: Stale) -> Candidate | None:
    """Return the earlier proof while its hash is live: a secret is bound to its hash only."""
    if old is None:
        return None
    live = live_hashes(read.record, read.now)
    return next((one for one in live if one.phc == old.phc), None)
