"""Plans: the part of the policies that keys refer to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.domain.keys.limits import Limits

DEFAULT_PLAN = "default"


@dataclass(frozen=True, slots=True)
class Plan:
    """Named limits. `agents`: further limits for calls to single agents, counted in addition.
    `enforced` False: all limits are counted, but a request that exceeds one is reported and let
    in."""

    name: str
    limits: Limits
    agents: Mapping[str, Limits] = field(default_factory=lambda: MappingProxyType({}))
    enforced: bool = True

    def __hash__(self) -> int:
        # A mapping is not hashable.
        return hash(self.name)
