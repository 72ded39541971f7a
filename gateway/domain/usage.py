"""Usage counters: requests and tokens, by caller and by callee, in buckets of time."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Tokens of one call to a model. `estimated`: the provider did not report them."""

    prompt: int = 0
    completion: int = 0
    total: int = 0
    estimated: bool = False


class Step(StrEnum):
    """The width of a bucket."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        return _SECONDS[self]

    @property
    def kept(self) -> int:
        """How many seconds a bucket is kept."""
        return _KEPT[self]

    def start(self, at: float) -> int:
        """Return the start of the bucket that holds this Unix time."""
        return int(at) // self.seconds * self.seconds

    def starts(self, since: float, until: float) -> range:
        """Return the start of each bucket in this period."""
        return range(self.start(since), int(until) + 1, self.seconds)


_SECONDS = {Step.MINUTE: _MINUTE, Step.HOUR: _HOUR, Step.DAY: _DAY}
_KEPT = {Step.MINUTE: 3 * _HOUR, Step.HOUR: 14 * _DAY, Step.DAY: 400 * _DAY}


class By(StrEnum):
    """What is counted separately. `agent` includes services and models, as `models/gpt-4`. The last
    two are histograms of the time to admit a request and of the time to first byte
    (domain/latency)."""

    ALL = "all"
    AGENT = "agent"
    CONSUMER = "consumer"
    CODE = "code"
    ADMISSION = "admission"
    FIRST_BYTE = "first_byte"


# The only name in a bucket whose counts are not told apart by name.
EVERYTHING = ""

# Per key, of which there may be many.
_KEY_KEPT = {Step.MINUTE: _HOUR, Step.HOUR: 3 * _DAY, Step.DAY: 35 * _DAY}


@dataclass(slots=True)
class Counts:
    """`denied`: refused by the gateway. `failed`: any 5xx answer. `tokens`: prompt and completion
    tokens; `estimated`: how many of them were estimated."""

    requests: int = 0
    denied: int = 0
    failed: int = 0
    prompt: int = 0
    completion: int = 0
    tokens: int = 0
    estimated: int = 0

    def add(self, other: "Counts") -> None:
        # Called a dozen times for each key of a batch: a loop over the field names took four times
        # as long.
        self.requests += other.requests
        self.denied += other.denied
        self.failed += other.failed
        self.prompt += other.prompt
        self.completion += other.completion
        self.tokens += other.tokens
        self.estimated += other.estimated


COUNTED = tuple(Counts.__dataclass_fields__)


class Bucket(NamedTuple):
    """One hash of counts in Redis. `owner`: a key's id or a `By`; `place`: the rest of the name;
    `kept`: seconds. A NamedTuple, because it is looked up as often as `Counts` are added."""

    owner: str
    place: str
    kept: int


def buckets(by: By, at: float) -> tuple[Bucket, ...]:
    return _buckets(by, Step.MINUTE.start(at))


@lru_cache(maxsize=64)
def _buckets(by: By, minute: int) -> tuple[Bucket, ...]:
    return tuple(bucket_of(by, step, minute) for step in Step)


def bucket_of(by: By, step: Step, at: float) -> Bucket:
    return Bucket(by.value, f"{step}:{step.start(at)}", step.kept + step.seconds)


def key_bucket(key_id: str, step: Step, at: float) -> Bucket:
    """Return the bucket for one key's usage: by agent in day buckets, in total in shorter ones."""
    return _key_bucket(key_id, step, step.start(at))


@lru_cache(maxsize=4096)
def _key_bucket(key_id: str, step: Step, at: int) -> Bucket:
    return Bucket(key_id, f"{step}:{step.start(at)}", _KEY_KEPT[step] + step.seconds)
