"""Times as people write them: `24h`, `30d`, `2027-01-31`. ApiError names the field with another."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gateway.admin.routing import bad_field
from gateway.domain.keys import expiry
from gateway.domain.units import span

T = TypeVar("T")


def seconds(field: str, text: str) -> float:
    """A span; `0` is none."""
    return _parsed(field, span, text)


def expiry_second(field: str, text: str | None, now: int) -> int | None:
    """The Unix second that `text` names; None where there is none, or it says `never`."""
    return None if text is None else _parsed(field, partial(expiry.parse, now=now), text)


def since_second(field: str, text: str, now: int) -> int:
    """The Unix second from which on something is wanted; 0 where there is none."""
    return _parsed(field, partial(expiry.parse_since, now=now), text) if text else 0


def _parsed(field: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None
