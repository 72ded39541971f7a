"""Explaining what would happen to a request, by the rules of the data plane. Nothing is charged,
and the secret is taken to be right."""

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.domain.credentials import CredentialId
from gateway.domain.errors import Code, Denied, OperationError, StoreError, UsageError, limited
from gateway.domain.keys.judgement import MisconfiguredError, check_consistent, why_dead
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.views import view
from gateway.domain.policies.references import id_of
from gateway.domain.policies.snapshot import Agent, Callee, Model, Outbound, Policies, ToolServer
from gateway.domain.policies.tools import Transport
from gateway.protocol.http.request import RequestHead
from gateway.services.admission.admit import shadow_code
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.cached_key import Access, CachedKey, cached_key
from gateway.services.admission.locate import Located
from gateway.services.admission.own_places import OwnPlace, PowersAt, own_place
from gateway.services.admission.question import Question, head_of, located_by
from gateway.services.admission.steps import (
    About,
    Found,
    Step,
    grant_step,
    limit_steps,
    place_steps,
)
from gateway.store.admission import (
    CHARGE_NOTHING,
    Admission,
    Charged,
    CounterError,
    Exceeded,
    with_lease,
)
from gateway.store.key_reader import KeyReader

# Raises Denied(credential_unavailable) if one of these cannot be used; StoreError or OperationError
# if the vault cannot tell.
CheckUsable = Callable[[Sequence[CredentialId]], Awaitable[None]]
_WELL_FORMED = Step(About.REQUEST, Found.WELL_FORMED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """`steps`: in the order of the decision.

    `denied` None: the request would go to `upstream`, or to another upstream of the same agent; if
    `upstream` is empty, the gateway itself answers. `shadow`: the code with which a rule with
    `enforce: false` would refuse it; empty: none would.
    """

    steps: tuple[Step, ...]
    denied: Denied | None
    upstream: str = ""
    shadow: str = ""


class Explainer:
    """Reads the live records and counters. `admission` charges nothing here. `powers_at`: what a
    request to the admin API needs."""

    def __init__(
        self,
        policies: Policies,
        keys: KeyReader,
        admission: Admission,
        powers_at: PowersAt,
        check_usable: CheckUsable,
    ) -> None:
        self._policies = policies
        self._check_usable = check_usable
        self._powers_at = powers_at
        self._keys = keys
        self._admission = admission

    async def explain(self, question: Question) -> Explanation:
        """Return what `gateway serve` would do now; StoreError if Redis cannot tell."""
        steps: list[Step] = []
        try:
            upstream, shadow = await self._walk(question, steps)
        except Denied as denied:
            return Explanation(tuple(steps), denied)
        return Explanation(tuple(steps), None, upstream, shadow)

    async def _walk(self, question: Question, steps: list[Step]) -> tuple[str, str]:
        head = head_of(question)
        own = own_place(head, self._policies, self._powers_at)
        if own is not None:
            if question.tool or question.model:
                raise UsageError("This URL calls neither a tool nor a model.")
            steps += (_WELL_FORMED, Step(About.PLACE, own.what, own.facts))
            return "", await self._enter(question, head, own, steps)
        located = located_by(head, question, self._policies)
        steps.append(_WELL_FORMED)
        shadow = ""
        if not located.public:
            cached = await self._known(question, steps)
            shadow = await self._authorise(cached, head, located, steps)
        else:
            steps.append(Step(About.ROUTE, Found.PUBLIC))
        callee = await self._called(located, head, question, steps)
        return _goes_to(callee, located, head, question), shadow

    async def _enter(
        self, question: Question, head: RequestHead, own: OwnPlace, steps: list[Step]
    ) -> str:
        """Explain a request to one of the gateway's own places."""
        if own.keyless:
            return ""
        cached = await self._known(question, steps)
        denied = own.missing(cached.grants)
        if denied is not None:
            raise denied
        if own.located is None:
            # Operators act for nobody, and have no limits.
            return ""
        return await self._authorise(cached, head, own.located, steps)

    async def _authorise(
        self, cached: CachedKey, head: RequestHead, located: Located, steps: list[Step]
    ) -> str:
        """Return the code with which a rule that is not enforced would refuse the request."""
        record, access = cached.record, cached.add_access(located, self._admission)
        steps.extend(place_steps(located, head, self._policies))
        if located.denied is None:
            steps.extend(grant_step(About.SCOPE, cached.grants, scope) for scope in located.scopes)
        denied = cached.denial(access, located, head)
        if denied is not None:
            raise denied
        if head.user is not None:
            steps.append(Step(About.USER, Found.MAY_ACT_FOR, {"user": head.user}))
        if located.tried is not None:
            steps.append(grant_step(About.TRIED, cached.grants, located.tried))
        exceeded = await self._check_limits(record, access, steps)
        return access.tried or exceeded

    async def _known(self, question: Question, steps: list[Step]) -> CachedKey:
        if not question.key_id:
            raise Denied(Code.KEY_MISSING)
        record = await self._keys.get(question.key_id)
        if record is None or not acceptable(record.hash):
            steps.append(Step(About.KEY, Found.NO_RECORD))
            raise Denied(Code.KEY_INVALID)
        now = await self._keys.now()
        state = view(record, now).state
        if record.consumer:
            facts = {"consumer": record.consumer, "state": state}
            steps.append(Step(About.KEY, Found.OF, facts))
        else:
            steps.append(Step(About.KEY, Found.OF_NOBODY, {"state": state}))
        code = why_dead(record, now)
        if code is not None:
            raise Denied(code)
        try:
            check_consistent(record)
            candidate = Candidate(Slot.CURRENT, record.hash, record.tag)
            return cached_key(record, candidate, self._policies)
        except MisconfiguredError as problem:
            steps.append(Step(About.RECORD, Found.SENSELESS, {"problem": problem}))
            raise Denied(Code.KEY_MISCONFIGURED) from None

    async def _check_limits(self, record: KeyRecord, access: Access, steps: list[Step]) -> str:
        """Return the code of an exceeded limit that is not enforced."""
        if not access.limits:
            steps.append(Step(About.LIMITS, Found.NO_LIMITS))
            return ""
        command = self._admission.pack_charge(
            record, access.limits, valid_until=0, touch=CHARGE_NOTHING
        )
        if access.leases:
            command = with_lease(command, CHARGE_NOTHING)
        try:
            answer = await self._admission.run(record.id, command)
        except CounterError as problem:
            steps.append(Step(About.RECORD, Found.SENSELESS, {"problem": problem}))
            raise Denied(Code.KEY_MISCONFIGURED) from None
        if not isinstance(answer, Charged | Exceeded):
            raise StoreError("The record was changed at this moment: ask again.")
        steps.extend(limit_steps(access, answer))
        if isinstance(answer, Exceeded):
            named = access.limits[answer.position - 1]
            raise limited(named.denial, answer.retry_after, named.label, named.most)
        return shadow_code(access, answer.exceeded)

    async def _called(
        self, located: Located, head: RequestHead, question: Question, steps: list[Step]
    ) -> Callee:
        """Return what is called: a fallback, where the credential of a model cannot be had. Denied
        if a credential that is needed cannot be used."""
        first = located.callee
        if first is None:
            raise Denied(Code.NOT_FOUND)
        if isinstance(first, Agent):
            return first
        names = first.fallback if isinstance(first, Model) else ()
        *others, last = (first, *filter(None, map(self._policies.models.get, names)))
        for callee in others:
            try:
                await self._check_credentials(callee, head, question, steps)
            except Denied as denied:
                steps.append(Step(About.CREDENTIALS, Found.SENSELESS, {"problem": denied}))
            else:
                return callee
        await self._check_credentials(last, head, question, steps)
        return last

    async def _check_credentials(
        self, callee: Outbound, head: RequestHead, question: Question, steps: list[Step]
    ) -> None:
        needed = inject = callee.inject
        if isinstance(callee, ToolServer) and not question.tool:
            needed = inject.beside_calls(runs=callee.tools.transport is not Transport.COMMAND)
        if not needed.references:
            return
        try:
            await self._check_usable([id_of(one, head.user) for one in inject.references])
        except (StoreError, OperationError) as problem:
            steps.append(Step(About.CREDENTIALS, Found.UNKNOWN, {"problem": problem}))


def _goes_to(callee: Callee, located: Located, head: RequestHead, question: Question) -> str:
    if isinstance(callee, ToolServer) and not callee.upstreams:
        return shlex.join(callee.tools.command) or f"the program of {question.tool or 'a tool'}"
    return f"{callee.upstreams[0]}{(located.path + head.target.query).decode('ascii')}"
