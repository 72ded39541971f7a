"""One request as a line of the access log: as JSON, or for people."""

from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

from gateway.domain.keys.key import KEY_PREFIX, masked
from gateway.domain.traffic import Handled
from gateway.protocol import json_line

LONGEST_PATH = 256
MOST_ENCODED = 8


# Put together by hand: a mapping for an encoder took twice the time, of every request. Only what
# strangers and operators write needs escaping; ids, codes and names of agents are plain words.
_JSON = (
    '{{"ts":"{}","request_id":"{}","key_id":"{}","consumer":{},"agent":"{}","method":"{}",'
    '"path":{},"status":{},"code":"{}"{},"cut":{},"received":{},"sent":{},"admission_ms":{},'
    '"first_byte_ms":{},"total_ms":{:.2f}}}\n'
).format


def as_line_of_json(handled: Handled) -> bytes:
    """Times in milliseconds."""
    admission, first_byte = handled.admission, handled.first_byte
    return _JSON(
        _moment(handled.at),
        handled.request_id,
        handled.key_id,
        _quoted(handled.consumer),
        handled.agent,
        handled.method,
        _quoted_path(handled.path),
        handled.status,
        handled.code,
        f',"shadow":"{handled.shadow}"' if handled.shadow else "",
        "true" if handled.cut else "false",
        handled.received,
        handled.sent,
        "null" if admission is None else f"{admission * 1000:.2f}",
        "null" if first_byte is None else f"{first_byte * 1000:.2f}",
        handled.total * 1000,
    ).encode("ascii")


def as_line_for_people(handled: Handled) -> bytes:
    who = f"{handled.key_id or '-'} {handled.consumer or '-'}"
    what = f"{handled.method or '-'} {_shown(handled.path) or '-'}"
    came = f"{handled.status} {handled.code or ('cut' if handled.cut else 'ok')}"
    if handled.shadow:
        came += f" shadow:{handled.shadow}"
    times = "/".join(
        "-" if seconds is None else f"{seconds * 1000:.1f}"
        for seconds in (handled.admission, handled.first_byte, handled.total)
    )
    line = (
        f"{_moment(handled.at)} {handled.request_id} {who} {handled.agent or '-'} {what} {came} "
        f"{handled.received}>{handled.sent} {times} ms"
    )
    # A line break in what others write would begin a line of its own.
    return "".join(c if c.isprintable() else "?" for c in line).encode() + b"\n"


@lru_cache(maxsize=1024)
def _quoted_path(path: str) -> str:
    return _quoted(_shown(path))


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json_line.escaped(text)


def _shown(path: str) -> str:
    plain = path
    for _ in range(MOST_ENCODED):
        if "%" not in plain or (decoded := unquote(plain)) == plain:
            break
        plain = decoded
    else:
        # It could be so thousands of times, and what it hides is not shown.
        path = plain = path.partition("%")[0] + "%…"
    if KEY_PREFIX in plain:
        path = masked(plain)
    return path if len(path) <= LONGEST_PATH else path[: LONGEST_PATH - 1] + "…"


def _moment(at: float) -> str:
    second, fraction = divmod(at, 1.0)
    return f"{_second(second)}.{int(fraction * 1000):03d}+00:00"


@lru_cache(maxsize=16)
def _second(second: float) -> str:
    """Thousands of lines are of one second, and a calendar is slow."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
