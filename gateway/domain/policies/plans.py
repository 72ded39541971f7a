"""Plans: the part of the policies that keys refer to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.domain.keys.limits import Limits

_DEFAULT = "default"


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


def default_plan(plans: Collection[str]) -> str:
    """Return the plan of new keys for which none is named; empty if `plans` have no such plan."""
    return _DEFAULT if _DEFAULT in plans else ""
