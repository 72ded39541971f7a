"""The steps of an explanation, as sentences with named placeholders, so that a page can word them
in another language."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.keys.limit_headers import quantity
from gateway.domain.keys.scopes import Grants, Scope, parse
from gateway.domain.policies.snapshot import Agent, Policies
from gateway.domain.policies.unknown_names import UnknownName, unknown_name
from gateway.protocol.http.request import RequestHead
from gateway.protocol.models.request import MODELS_PREFIX
from gateway.services.admission.cached_key import Access
from gateway.services.admission.locate import Located
from gateway.store.admission import Charged, Exceeded


class About(StrEnum):
    """What was looked at."""

    REQUEST = "request"
    PLACE = "place"
    ROUTE = "route"
    AGENT = "agent"
    SERVICE = "service"
    MODEL = "model"
    TOOL = "tool"
    ACTION = "action"
    CREDENTIALS = "credentials"
    KEY = "key"
    RECORD = "record"
    SCOPE = "scope"
    TRIED = "tried out"
    USER = "user"
    LIMITS = "limits"


class Found(StrEnum):
    """What was found."""

    WELL_FORMED = "well-formed"
    WRITTEN = "{name}, from {place}"
    NO_AGENT = "the policies have none at this address"
    ABSENT = "no policy has {name}"
    MEANT = "no policy has {name}; did you mean {meant}?"
    INJECTED = "{names}"
    NONE_INJECTED = "none are put into the call"
    UNKNOWN = "whether they can be used is not known here: {problem}"

    PUBLIC = "public: no key is needed, and one that is sent is not read"
    EVERY_PATH = "no routes are listed: every path, action {action}"
    ACTION = "action {action}"
    NOT_ENFORCED = "action {action}, not enforced: a scope at the agent is enough"
    NO_ROUTE = "none that takes this path and method"

    NO_RECORD = "there is no usable record of this id"
    OF = "of {consumer}, {state}"
    OF_NOBODY = "of nobody, {state}"
    SENSELESS = "{problem}"
    GRANTED = "{scope} is granted by {by}"
    NOT_GRANTED = "{scope} is not granted"
    MAY_ACT_FOR = "{user}: the key may act for this user"

    NO_LIMITS = "none"
    LEFT = "{limit}: {left} of {most} left, full again in {reset} s"
    COUNTED = "{limit}: only counted, for the plan is not enforced"
    EXCEEDED = "{limit}: only counted, for the plan is not enforced, exceeded now"

    HEALTH = "whether the gateway lives and serves"
    CONNECT = "a user's one-time link: it takes the place of a key"
    PULL = "credentials to pull"
    CATALOGUE = "the list of models that the key may use"
    ONE_MODEL = "what model {model} is"
    NO_MODEL = "no model"
    ADMIN = "the admin API, on the admin listener; on the data listener nothing is there"
    METRICS = (
        "metrics, on the admin listener; on the data listener nothing is there; "
        "on loopback it takes no key"
    )
    CONSOLE = (
        "the console, on the admin listener; on the data listener nothing is there: "
        "its page asks for a key"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """`about`: an About, or the label of a limit as headers name it. `facts`: the values for the
    placeholders of `found`."""

    about: str
    found: Found
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.found.format(**self.facts)


def limit_steps(access: Access, answer: Charged | Exceeded) -> Iterator[Step]:
    """Yield what is left of each enforced limit, and the limits that are only counted."""
    # The states are those of the enforced limits, in order. Concurrency limits come last and have
    # no states.
    binding = [named for named in access.limits if named.enforced]
    for i in range(len(answer.states) // 2):
        named = binding[i]
        left, reset = answer.states[2 * i : 2 * i + 2]
        facts = {"limit": named.limit, "left": left, "most": quantity(named), "reset": reset}
        yield Step(named.label, Found.LEFT, facts)
    exceeded = answer.exceeded if isinstance(answer, Charged) else 0
    for position, named in enumerate(access.limits, 1):
        if named.enforced:
            continue
        found = Found.EXCEEDED if position == exceeded else Found.COUNTED
        yield Step(named.label, found, {"limit": named.limit})


def place_steps(located: Located, head: RequestHead, policies: Policies) -> Iterator[Step]:
    """Yield what is at the requested place, or which place was probably meant."""
    callee, scope = located.callee, asked_for(located, head)
    absent = unknown_name(scope, policies) if scope else None
    if callee is None:
        if absent is not None and scope is not None:
            yield _absent(About(scope.kind.removesuffix("s")), absent)
        elif located.required is None and not located.any_key:
            yield Step(About.AGENT, Found.NO_AGENT)
        return
    place = policies.origins.get(f"{callee.kind}/{callee.name}", "?")
    kind = About(callee.kind.removesuffix("s"))
    yield Step(kind, Found.WRITTEN, {"name": callee.name, "place": place})
    if isinstance(callee, Agent):
        yield _route(located, callee)
    elif names := " ".join(dict.fromkeys(map(str, callee.inject.references))):
        yield Step(About.CREDENTIALS, Found.INJECTED, {"names": names})
    else:
        yield Step(About.CREDENTIALS, Found.NONE_INJECTED)
    if absent is not None:
        yield _absent(About.ACTION, absent)


def asked_for(located: Located, head: RequestHead) -> Scope | None:
    """Return the scope of what a request names, existing or not; None: it names nothing."""
    path = head.target.path
    if located.callee or located.scope or path.startswith(MODELS_PREFIX):
        return located.scope
    return parse(b"/".join(path.split(b"/")[1:3]).decode("ascii"))


def _absent(about: About, absent: UnknownName) -> Step:
    found = Found.MEANT if absent.meant else Found.ABSENT
    return Step(about, found, absent._asdict())


def _route(located: Located, agent: Agent) -> Step:
    action = {"action": located.action}
    if agent.routes is None:
        return Step(About.ROUTE, Found.EVERY_PATH, action)
    if located.denied is not None:
        return Step(About.ROUTE, Found.NO_ROUTE)
    found = Found.ACTION if located.required is None else Found.NOT_ENFORCED
    return Step(About.ROUTE, found, action)


def grant_step(about: About, grants: Grants, required: Scope) -> Step:
    """Return which of the key's scopes grants it."""
    granting = next((scope for scope in grants.scopes if scope.grants(required)), None)
    if granting is None:
        return Step(about, Found.NOT_GRANTED, {"scope": required})
    return Step(about, Found.GRANTED, {"scope": required, "by": granting})
