"""How people write an expiry: `30d`, `2027-01-31`, `2027-01-31T12:00:00Z`, Unix seconds."""

import math
from datetime import UTC, datetime

from gateway.domain.keys.record import unix_time
from gateway.domain.units import duration

NEVER = "never"
LATEST_EXPIRY = 10**12 - 1


def parse(text: str, now: int) -> int | None:
    """Return the Unix second that `text` names, None for `never`; ValueError says what is expected.

    A date without a time means its first second; a time without a zone is UTC.
    """
    if text == NEVER:
        return None
    second = _second(text, now)
    if second <= now:
        raise ValueError(f"{text!r} is in the past: give a time to come, such as 30d")
    if second > LATEST_EXPIRY:
        raise ValueError(f"{text!r} is too far away: leave it out for what never expires")
    return second


def parse_since(text: str, now: int) -> int:
    """Return the Unix second at which a period begins: `2h` ago, a date, or Unix seconds."""
    second = parse_until(text, now)
    if second > now:
        raise ValueError(f"{text!r} is in the future")
    return second


def parse_until(text: str, now: int) -> int:
    """Return the Unix second before which a period ends: `2h` ago, a date, or Unix seconds."""
    return max(0, _second(text, now, direction=-1))


def _second(text: str, now: int, direction: int = 1) -> int:
    if (second := unix_time(text)) is not None:
        return second
    try:
        return now + direction * math.floor(duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a duration such as 30d, nor a date such as 2027-01-31, "
            "nor Unix seconds"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return math.floor(moment.timestamp())
