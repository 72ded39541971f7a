"""Human spellings of times, sizes, rates and counts: `30d`, `10MB`, `5/s`, `2 keys`."""

import re
from fractions import Fraction

DAY = 86_400
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": DAY}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"(\d{1,12})\s?([KMG]?i?B?)", re.ASCII | re.IGNORECASE)


def duration(text: str) -> float:
    """Return the seconds in `2s`, `500ms`, `10m`, `24h`, `30d`, `2w`; else ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a duration such as 500ms, 30s, 10m, 24h or 30d")
    number, unit = match.groups()
    factor = {"ms": Fraction(1, 1000), "w": Fraction(7 * DAY)}.get(unit) or SECONDS[unit]
    return float(Fraction(number) * factor)


def span(text: str) -> float:
    """Like `duration`, but also accept `0`."""
    return 0.0 if text == "0" else duration(text)


def size(text: str) -> int:
    """Return the bytes in `10MB`, `512KiB` or `1000`; ValueError says what is expected."""
    match = _SIZE.fullmatch(text)
    factor = _BYTES.get(match.group(2).upper()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text[:40]!r} is not a size such as 1000, 512KB, 10MB or 1GiB")
    return int(match.group(1)) * factor


def counted(number: int, what: str) -> str:
    """Return `1 key` or `2 keys`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def count(text: str) -> int:
    """Return the whole number in `text`; ValueError if it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text!r} is not a number")
    return int(text)
