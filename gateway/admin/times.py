"""Times as people write them: `24h`, `30d`, `2027-01-31`."""

from gateway.admin.routing import bad_field
from gateway.domain.keys import expiry
from gateway.domain.units import duration


def seconds(field: str, text: str) -> float:
    """A span; `0` is none. ApiError names `field` where it is neither."""
    if text == "0":
        return 0.0
    try:
        return duration(text)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None


def expiry_second(field: str, text: str | None, now: int) -> int | None:
    """The Unix second that `text` names; None where there is none, or it says `never`."""
    if text is None:
        return None
    try:
        return expiry.parse(text, now)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None


def since_second(field: str, text: str, now: int) -> int:
    """The Unix second from which on something is wanted; 0 where there is none."""
    if not text:
        return 0
    try:
        return expiry.parse_since(text, now)
    except ValueError as problem:
        raise bad_field(field, str(problem)) from None
