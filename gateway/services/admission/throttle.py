"""A throttle on failures that cost argon2, per key id and per address, so that nobody can buy CPU
time with wrong keys.

It applies only where argon2 would have to run, never to a key whose tag or proof has matched.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

REMEMBERED = 20_000
V6_PREFIX_BITS = 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` failures at once, and one more every `interval` seconds."""

    burst: int
    interval: float


PER_KEY = Allowance(burst=10, interval=6.0)
PER_ADDRESS = Allowance(burst=30, interval=2.0)
FAILURE_SECONDS = 10.0


class FailureThrottle:
    """Leaky buckets of failures, bounded in number. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def refuses(self, key_id: str, address: str) -> bool:
        return self._full(key_id, PER_KEY) or self._full(_block(address), PER_ADDRESS)

    def count(self, key_id: str, address: str) -> None:
        self._add(key_id, PER_KEY)
        self._add(_block(address), PER_ADDRESS)

    def _full(self, name: str, allowance: Allowance) -> bool:
        ahead = self._until.get(name, 0.0) - self._clock()
        return ahead > (allowance.burst - 1) * allowance.interval

    def _add(self, name: str, allowance: Allowance) -> None:
        now = self._clock()
        self._until[name] = max(now, self._until.pop(name, 0.0)) + allowance.interval
        while len(self._until) > REMEMBERED:
            self._until.popitem(last=False)


class Failures:
    """Tokens that were just refused, so that a repeat costs nothing. Bounded, for some seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[tuple[bytes, str], float] = OrderedDict()

    def add(self, digest: bytes, phc: str) -> None:
        self._until[digest, phc] = self._clock() + FAILURE_SECONDS
        while len(self._until) > REMEMBERED:
            self._until.popitem(last=False)

    def holds(self, digest: bytes, phc: str) -> bool:
        until = self._until.get((digest, phc))
        return until is not None and until > self._clock()


def _block(address: str) -> str:
    """Return the address block of one customer: an IPv4 address or an IPv6 /64, because a whole /64
    costs nothing to own."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        # A proxy in front may spell every IPv4 address like this: all of them would be one block.
        parsed = parsed.ipv4_mapped or parsed
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(IPv6Address(int(parsed) >> V6_PREFIX_BITS << V6_PREFIX_BITS))
