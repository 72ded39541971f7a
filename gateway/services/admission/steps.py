"""What an explanation says, a step at a time: sentences with named places, so that whoever shows
them can word them in another language."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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
    FROM_ANSWERS = "{limit}, counted from answers"

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
    """`about`: an About, or of a limit its label, as headers name it. `facts`: what stands at the
    places of `found`."""

    about: str
    found: Found
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.found.format(**self.facts)
