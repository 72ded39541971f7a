"""RateLimit header fields (draft-ietf-httpapi-ratelimit-headers-10), and X-RateLimit-… ones."""

import math
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import truediv

from gateway.domain.keys.judgement import NamedLimit
from gateway.domain.keys.limits import Concurrency, Rate, Tokens, Window
from gateway.domain.units import DAY, SECONDS

DRAFT_NAMES = ("RateLimit-Policy", "RateLimit")
PLAIN_NAMES = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_LINES = "".join(f"{name}: %s\r\n" for name in DRAFT_NAMES) + "".join(
    f"{name}: %%d\r\n" for name in PLAIN_NAMES
)


@dataclass(slots=True)
class LimitFields:
    """The header fields for one set of limits. Their fixed parts are formatted once.

    `policy` has one `%d` for the length of each monthly quota (`months` of them). `state` has two
    for each limit: requests remaining, then seconds until it is full again (rate) or starts anew
    (quota).
    """

    quantities: tuple[int, ...]
    policy: str
    state: str
    months: int
    # The template is valid until this Unix time, because it holds the length of the month.
    _until: float = 0.0
    _template: bytes = b""

    def pairs(self, states: tuple[int, ...], now: float) -> tuple[tuple[str, str], ...]:
        """Return the fields as pairs. `states` comes from the admission script; `now`, in Unix
        seconds, tells how long the month is."""
        lines = self.lines(states, now).decode("ascii").splitlines()
        return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))

    def lines(self, states: tuple[int, ...], now: float) -> bytes:
        """Return the fields as whole header lines."""
        if now >= self._until:
            self._write(now)
        # Report the limit with the smallest share left.
        shares = [*map(truediv, states[::2], self.quantities)]
        at = shares.index(min(shares))
        tightest = self.quantities[at], states[2 * at], states[2 * at + 1]
        return self._template % (states + tightest)

    def _write(self, now: float) -> None:
        today = datetime.fromtimestamp(now, UTC)
        days = monthrange(today.year, today.month)[1]
        first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        self._until = first.timestamp() + days * DAY
        policy = self.policy % ((days * DAY,) * self.months)
        self._template = (_LINES % (policy.replace("%", "%%"), self.state)).encode("ascii")


@lru_cache(maxsize=1024)
def limit_fields(limits: tuple[NamedLimit, ...]) -> LimitFields:
    """Return the fields for rates and quotas; token and concurrency limits have none."""
    shown = [named for named in limits if not isinstance(named.limit, (Tokens, Concurrency))]
    return LimitFields(
        quantities=tuple(quantity(named) for named in shown),
        policy=", ".join(f'"{n.label}";q={quantity(n)};w={_width(n)}' for n in shown),
        state=", ".join(f'"{n.label}";r=%d;t=%d' for n in shown),
        months=sum(_width(named) == "%d" for named in shown),
    )


def quantity(named: NamedLimit) -> int:
    return named.burst if isinstance(named.limit, Rate) else named.limit.count


def _width(named: NamedLimit) -> str:
    limit = named.limit
    if isinstance(limit, (Tokens, Concurrency)):
        raise TypeError("it is in no header")
    if isinstance(limit, Rate):
        return str(math.ceil(named.burst * limit.per / limit.count))
    return "%d" if limit.window is Window.MONTH else str(SECONDS[limit.window])
