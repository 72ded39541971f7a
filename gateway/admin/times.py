"""Parsing points in time such as `2027-01-31`; ApiError names the field of an invalid one."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from gateway.admin.routing import bad_field
from gateway.domain.keys import expiry

T = TypeVar("T")


def expiry_second(field: str, text: str | None, now: int) -> int | None:
    """Return the Unix second that `text` names; None if `text` is None or `never`."""
    return None if text is None else _parsed(field, partial(expiry.parse, now=now), text)


def since_second(field: str, text: str, now: int) -> int:
    """Return the Unix second that `text` names as a start; 0 if it is empty."""
    return _parsed(field, partial(expiry.parse_since, now=now), text) if text else 0


def _parsed(field: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None
