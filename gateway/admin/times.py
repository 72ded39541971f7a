"""The fields `expires`, `since` and `until`: points in time such as `2027-01-31`; else ApiError."""

from collections.abc import Callable
from typing import TypeVar

from gateway.admin.routing import bad_field
from gateway.domain.keys import expiry

T = TypeVar("T")


def expiry_second(expires: str | None, now: int) -> int | None:
    """Return the Unix second that it names; None if it is None or `never`."""
    return None if expires is None else _parsed("expires", expiry.parse, expires, now)


def since_second(since: str, now: int) -> int:
    """Return the Unix second that it names; 0 if it is empty."""
    return _parsed("since", expiry.parse_since, since, now) if since else 0


def until_second(until: str, since: int, now: int) -> int | None:
    """Return the Unix second that it names, which is not before `since`; None if it is empty."""
    second = _parsed("until", expiry.parse_until, until, now) if until else None
    if second is not None and second < since:
        raise bad_field("until", "this is a time before 'since': nothing can be in between")
    return second


def _parsed(field: str, parse: Callable[[str, int], T], text: str, now: int) -> T:
    try:
        return parse(text, now)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None
