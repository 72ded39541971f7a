"""Plans: what keys know of the policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.domain.keys.limits import Limits

DEFAULT_PLAN = "default"


@dataclass(frozen=True, slots=True)
class Plan:
    """Named limits. `agents`: further limits for calls to single agents, counted besides.
    `enforced` False: all of them are counted, and what they would refuse is reported and let in."""

    name: str
    limits: Limits
    agents: Mapping[str, Limits] = field(default_factory=lambda: MappingProxyType({}))
    enforced: bool = True

    def __hash__(self) -> int:
        # A mapping has none.
        return hash(self.name)
