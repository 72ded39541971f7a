"""RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10), and X-RateLimit-… beside them.

`states` is what the admission script says of each limit: requests remaining, then seconds until
it is full again (rate) or begins anew (quota).
"""

import math
from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime

from gateway.domain.judgement import NamedLimit
from gateway.domain.limits import Rate, Window

DAY_SECONDS = 86400
_WIDTHS = {
    Window.SECOND: 1,
    Window.MINUTE: 60,
    Window.HOUR: 3600,
    Window.DAY: DAY_SECONDS,
}


def policy_field(limits: Sequence[NamedLimit], now: datetime) -> str:
    """`"rate";q=20;w=2, "day";q=10000;w=86400`; `now` in UTC tells how long this month is."""
    return ", ".join(f'"{n.label}";q={quantity(n)};w={_width(n, now)}' for n in limits)


def state_field(limits: Sequence[NamedLimit], states: Sequence[int]) -> str:
    """`"rate";r=7;t=1, "day";r=9123;t=3600`."""
    return ", ".join(
        [
            f'"{named.label}";r={states[2 * i]};t={states[2 * i + 1]}'
            for i, named in enumerate(limits)
        ]
    )


def tightest(limits: Sequence[NamedLimit], states: Sequence[int]) -> tuple[int, int, int]:
    """Quantity, remaining and reset of the limit with the smallest share left."""
    if len(limits) == 1:
        return quantity(limits[0]), states[0], states[1]
    rows = [(quantity(n), states[2 * i], states[2 * i + 1]) for i, n in enumerate(limits)]
    return min(rows, key=lambda row: row[1] / row[0])


def quantity(named: NamedLimit) -> int:
    return named.burst if isinstance(named.limit, Rate) else named.limit.count


def _width(named: NamedLimit, now: datetime) -> int:
    limit = named.limit
    if isinstance(limit, Rate):
        return math.ceil(named.burst * limit.per / limit.count)
    if limit.window is Window.MONTH:
        return monthrange(now.year, now.month)[1] * DAY_SECONDS
    return _WIDTHS[limit.window]
