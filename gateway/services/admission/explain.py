"""Explaining what would happen to a request, by the rules of the data plane. Nothing is charged,
and the secret is taken to be right."""

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.domain.errors import Code, Denied, StoreError, UsageError, limited
from gateway.domain.keys.judgement import MisconfiguredError, check_consistent, why_dead
from gateway.domain.keys.phc import acceptable
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.views import view
from gateway.domain.policies.references import id_of
from gateway.domain.policies.snapshot import Agent, Policies, ToolServer
from gateway.domain.policies.tools import Transport
from gateway.domain.policies.unknown_names import unknown_name
from gateway.protocol.http.request import RequestHead, read_head
from gateway.protocol.mcp.rpc import read
from gateway.protocol.models.request import MODELS_PREFIX, read_path, read_prompt
from gateway.protocol.strict_json import encode
from gateway.services.admission.admit import shadow_code
from gateway.services.admission.authenticate import Candidate, Slot
from gateway.services.admission.cached_key import Access, CachedKey, cached_key
from gateway.services.admission.locate import (
    Located,
    locate,
    locate_model,
    locate_no_model,
    locate_tools,
)
from gateway.services.admission.own_places import OwnPlace, PowersAt, own_place
from gateway.services.admission.steps import (
    About,
    Found,
    Step,
    asked_for,
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

_WELL_FORMED = Step(About.REQUEST, Found.WELL_FORMED)


@dataclass(frozen=True, slots=True)
class Question:
    """`url`: a path such as `/agents/faq/chat`, or a whole URL. `key_id` empty: no key is sent.
    `tool`: the tool that is called; empty: none. `model`: the model that the body names."""

    method: str
    url: str
    key_id: str = ""
    user: str = ""
    tool: str = ""
    model: str = ""


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
        self, policies: Policies, keys: KeyReader, admission: Admission, powers_at: PowersAt
    ) -> None:
        self._policies = policies
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
        head = _head(question)
        own = own_place(head, self._policies, self._powers_at)
        if own is not None:
            if question.tool or question.model:
                raise UsageError("--tool and --model: this URL calls neither.")
            steps += (_WELL_FORMED, Step(About.PLACE, own.what, own.facts))
            return "", await self._enter(question, head, own, steps)
        located = _located(head, question, self._policies)
        steps.append(_WELL_FORMED)
        shadow = ""
        if not located.public:
            cached = await self._known(question, steps)
            shadow = await self._authorise(cached, head, located, steps)
        else:
            steps.append(Step(About.ROUTE, Found.PUBLIC))
        _check_user(located, head, question)
        return _goes_to(located, head, question), shadow

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


def _check_user(located: Located, head: RequestHead, question: Question) -> None:
    """Raise Denied(credential_unavailable) if the request needs a user's own credential and names
    no user. Whether the user has entered it, only the vault can tell."""
    callee = located.callee
    if callee is None or isinstance(callee, Agent):
        return
    needed = inject = callee.inject
    if isinstance(callee, ToolServer) and not question.tool:
        needed = inject.beside_calls(runs=callee.tools.transport is not Transport.COMMAND)
    for reference in inject.references if needed.references else ():
        id_of(reference, head.user)


def _goes_to(located: Located, head: RequestHead, question: Question) -> str:
    callee = located.callee
    if callee is None:
        raise Denied(Code.NOT_FOUND)
    if isinstance(callee, ToolServer) and not callee.upstreams:
        return shlex.join(callee.tools.command) or f"the program of {question.tool or 'a tool'}"
    return f"{callee.upstreams[0]}{(located.path + head.target.query).decode('ascii')}"


def _located(head: RequestHead, question: Question, policies: Policies) -> Located:
    """Return where the request goes, also by what its body says of a tool or model."""
    located = locate(head, policies)
    if located.callee is None and head.target.path.startswith(MODELS_PREFIX):
        return _located_model(head, question, policies)
    if question.model:
        raise UsageError("--model: this URL is not one where models are called: /models/….")
    if not question.tool:
        return located
    if not isinstance(located.callee, ToolServer):
        asked = asked_for(located, head)
        if asked is not None and asked.kind == "tools" and unknown_name(asked, policies):
            return located
        raise UsageError("--tool: this URL is not the one of a server of tools: /tools/NAME/mcp.")
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": question.tool}}
    return locate_tools(located.callee, head.method, read(encode(message)))


def _located_model(head: RequestHead, question: Question, policies: Policies) -> Located:
    asked = read_path(head.target.path)
    if not question.model:
        raise UsageError("--model: say which model the body names; the URL alone does not tell.")
    if head.method != "POST" or not asked.is_call:
        return locate_no_model(asked)
    return locate_model(asked, read_prompt(encode({"model": question.model})).model, policies)


def _head(question: Question) -> RequestHead:
    try:
        parts = urlsplit(question.url)
        raw = question.url.encode("ascii")
    except ValueError:
        raise UsageError("--url: write it as a client would send it, percent-encoded.") from None
    headers: list[tuple[bytes, bytes]] = []
    if parts.scheme and parts.netloc:
        headers.append((b"Host", parts.netloc.encode("ascii")))
        raw = raw.partition(b"://")[2]
        raw = raw[len(parts.netloc) :].partition(b"#")[0]
        # Clients send `/` for a URL without a path.
        raw = raw if raw.startswith(b"/") else b"/" + raw
    if question.user:
        headers.append((b"X-User-Id", question.user.encode("utf-8", "replace")))
    return read_head(question.method, raw, tuple(headers))
