"""Limits of a key: rate (GCRA), calendar quotas and concurrency, from its plan and its own.

A limit is plain data here; `store/admit.lua` checks and charges it in Redis, atomically.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from gateway.domain.keys.record import words
from gateway.domain.units import SECONDS

MAX_AMOUNT = 10**9

_AMOUNT = re.compile(r"([1-9]\d{0,9})/([a-z]+)", re.ASCII)


class Window(StrEnum):
    """Calendar windows in UTC. The value is how people write it, `label` how headers name it."""

    SECOND = "s"
    MINUTE = "m"
    HOUR = "h"
    DAY = "d"
    MONTH = "month"

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` requests every `per` seconds."""

    count: int
    per: int

    def __str__(self) -> str:
        unit = next(name for name, seconds in SECONDS.items() if seconds == self.per)
        return f"{self.count}/{unit}"

    @property
    def interval_us(self) -> float:
        """The microseconds that one request takes up."""
        return float(Fraction(self.per * 1_000_000, self.count))


@dataclass(frozen=True, slots=True)
class Quota:
    """`count` requests in each calendar window."""

    count: int
    window: Window

    def __str__(self) -> str:
        return f"{self.count}/{self.window.value}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """`count` model tokens in each calendar window. They are counted once an answer reports how
    many it took. A call is let in while fewer have been used, so calls in progress may exceed the
    limit."""

    count: int
    window: Window

    def __str__(self) -> str:
        return f"{self.count}/{self.window.value}"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `count` requests in progress at any moment."""

    count: int

    def __str__(self) -> str:
        return f"{self.count} at a time"


@dataclass(frozen=True, slots=True)
class Limits:
    """A set of limits. An item that is None or empty is not limited.

    `burst` is the most that is admitted at once; without it, the number in `rate`.
    """

    rate: Rate | None = None
    burst: int | None = None
    quotas: tuple[Quota, ...] = ()
    concurrency: Concurrency | None = None
    tokens: tuple[Tokens, ...] = ()

    def __str__(self) -> str:
        quotas, tokens = ",".join(map(str, self.quotas)), ",".join(map(str, self.tokens))
        at_a_time = self.concurrency.count if self.concurrency else 0
        items = (
            ("rate", self.rate),
            ("burst", self.effective_burst),
            ("quota", quotas),
            ("tokens", tokens),
            ("concurrency", at_a_time),
        )
        return " ".join(f"{name}={value}" for name, value in items if value)

    @property
    def effective_burst(self) -> int:
        if self.burst is not None:
            return self.burst
        return self.rate.count if self.rate else 0

    def overridden(self, own: "Limits") -> "Limits":
        """Return these limits with each item that `own` sets replaced. Token limits stay, because
        only plans set them."""
        return replace(
            self,
            rate=own.rate or self.rate,
            burst=self.burst if own.burst is None else own.burst,
            quotas=own.quotas or self.quotas,
            concurrency=own.concurrency or self.concurrency,
        )


NO_LIMITS = Limits()

Windowed = TypeVar("Windowed", Quota, Tokens)


def parse_rate(text: str) -> Rate:
    """Parse `10/s`; ValueError says what is expected."""
    count, unit = _amount(text)
    if unit not in SECONDS:
        raise ValueError(f"{text[:40]!r} is not a rate such as 10/s, 100/m, 1000/h or 5000/d")
    return Rate(count, SECONDS[unit])


def parse_quota(text: str) -> Quota:
    """Parse `10000/d`; ValueError says what is expected."""
    count, unit = _amount(text)
    if unit not in {window.value for window in Window}:
        raise ValueError(f"{text[:40]!r} is not a quota such as 100/h, 10000/d or 200000/month")
    return Quota(count, Window(unit))


def parse_tokens(text: str) -> Tokens:
    """Parse `100000/d` as a quota of tokens; ValueError says what is expected."""
    quota = parse_quota(text)
    return Tokens(quota.count, quota.window)


def one_a_window(quotas: Sequence[Windowed]) -> tuple[Windowed, ...]:
    """Return `quotas`; ValueError if two of them are for the same window."""
    if len({quota.window for quota in quotas}) < len(quotas):
        raise ValueError("two quotas for the same window: keep the smaller one")
    return tuple(quotas)


def parse_burst(text: str) -> int:
    return _count(text, "a burst")


def parse_concurrency(text: str) -> Concurrency:
    return Concurrency(_count(text, "a concurrency"))


def _count(text: str, what: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) or int(text) > MAX_AMOUNT:
        raise ValueError(f"{text[:40]!r} is not {what}: a whole number of at least 1")
    return int(text)


def parse_own(text: str) -> Limits:
    """Parse a record's `limits` field: `rate=5/s burst=10 quota=100/h,1000/d concurrency=4`.

    ValueError unless all of it can be read: a limit half understood would allow too much.
    """
    own = Limits()
    seen: set[str] = set()
    for item in words(text):
        name, _, value = item.partition("=")
        if name in seen:
            raise ValueError(f"the limit {name[:40]!r} is given twice")
        seen.add(name)
        own = _with_item(own, name, value)
    return own


def _with_item(own: Limits, name: str, value: str) -> Limits:
    match name:
        case "rate":
            return replace(own, rate=parse_rate(value))
        case "burst":
            return replace(own, burst=parse_burst(value))
        case "quota":
            return replace(own, quotas=one_a_window([parse_quota(q) for q in value.split(",")]))
        case "concurrency":
            return replace(own, concurrency=parse_concurrency(value))
        case "tokens":
            raise ValueError("'tokens' are a plan's alone: give the key another plan")
        case _:
            raise ValueError(f"{name[:40]!r} is not a limit: use rate, burst, quota or concurrency")


def _amount(text: str) -> tuple[int, str]:
    match = _AMOUNT.fullmatch(text)
    if match is None or int(match.group(1)) > MAX_AMOUNT:
        raise ValueError(f"{text[:40]!r} is not an amount per time such as 10/s")
    return int(match.group(1)), match.group(2)
