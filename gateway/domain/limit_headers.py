"""RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10), and X-RateLimit-… beside them."""

import math
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import truediv

from gateway.domain.judgement import NamedLimit
from gateway.domain.limits import Concurrency, Rate, Window

# The wall clock in UTC.
Clock = Callable[[], datetime]

DAY_SECONDS = 86400
_WIDTHS = {
    Window.SECOND: 1,
    Window.MINUTE: 60,
    Window.HOUR: 3600,
    Window.DAY: DAY_SECONDS,
}
_NAMES = (
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
_LINES = "".join(f"{name}: %s\r\n" for name in _NAMES)


@dataclass(frozen=True, slots=True)
class LimitFields:
    """The fields about one set of limits; what no request changes is written once.

    `policy` has one `%d` for the width of each monthly quota (`months` of them), `state` two for
    each limit: requests remaining, then seconds until it is full again (rate) or begins anew.
    """

    quantities: tuple[int, ...]
    policy: str
    state: str
    months: int

    def pairs(self, states: tuple[int, ...], clock: Clock) -> tuple[tuple[str, str], ...]:
        """`states` is what the admission script says; `clock` tells how long this month is."""
        return tuple(zip(_NAMES, map(str, self._values(states, clock)), strict=True))

    def lines(self, states: tuple[int, ...], clock: Clock) -> bytes:
        """The same as whole header lines."""
        return (_LINES % self._values(states, clock)).encode("ascii")

    def _values(self, states: tuple[int, ...], clock: Clock) -> tuple[str, str, int, int, int]:
        policy = self.policy
        if self.months:
            now = clock()
            policy %= (_month_seconds(now.year, now.month),) * self.months
        # The limit with the smallest share left.
        shares = [*map(truediv, states[::2], self.quantities)]
        at = shares.index(min(shares))
        return policy, self.state % states, self.quantities[at], states[2 * at], states[2 * at + 1]


def limit_fields(limits: Sequence[NamedLimit]) -> LimitFields:
    """The fields about rates and quotas; how many are under way is in none of them."""
    limits = [named for named in limits if not isinstance(named.limit, Concurrency)]
    return LimitFields(
        quantities=tuple(quantity(named) for named in limits),
        policy=", ".join(f'"{n.label}";q={quantity(n)};w={_width(n)}' for n in limits),
        state=", ".join(f'"{n.label}";r=%d;t=%d' for n in limits),
        months=sum(_width(named) == "%d" for named in limits),
    )


def quantity(named: NamedLimit) -> int:
    return named.burst if isinstance(named.limit, Rate) else named.limit.count


def _width(named: NamedLimit) -> str:
    limit = named.limit
    if isinstance(limit, Concurrency):
        raise TypeError("a concurrency has no window")
    if isinstance(limit, Rate):
        return str(math.ceil(named.burst * limit.per / limit.count))
    return "%d" if limit.window is Window.MONTH else str(_WIDTHS[limit.window])


@lru_cache(maxsize=12)
def _month_seconds(year: int, month: int) -> int:
    return monthrange(year, month)[1] * DAY_SECONDS
