"""One request as a line of the access log, as JSON or for people."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

from gateway.domain.keys.key import KEY_PREFIX, masked
from gateway.domain.traffic import Handled

LONGEST_PATH = 256
MOST_ENCODED = 8


def as_line_of_json(handled: Handled) -> bytes:
    """Return the line as JSON, with times in milliseconds."""
    # Formatted by hand, because encoding a mapping took twice the time, on every request. Only what
    # strangers and operators write needs escaping; ids, codes and names of agents are plain words.
    shadow = f',"shadow":"{handled.shadow}"' if handled.shadow else ""
    cut = "true" if handled.cut else "false"
    line = (
        f'{{"ts":"{_moment(handled.at)}","request_id":"{handled.request_id}",'
        f'"key_id":"{handled.key_id}","consumer":{_quoted(handled.consumer)},'
        f'"agent":"{handled.agent}","method":"{handled.method}",'
        f'"path":{_quoted_path(handled.path)},"status":{handled.status},"code":"{handled.code}"'
        f'{shadow},"cut":{cut},"received":{handled.received},"sent":{handled.sent},'
        f'"admission_ms":{_milliseconds(handled.admission)},'
        f'"first_byte_ms":{_milliseconds(handled.first_byte)},'
        f'"total_ms":{_milliseconds(handled.total)}}}\n'
    )
    return line.encode("ascii")


def _milliseconds(seconds: float | None) -> str:
    # Takes half the time of a format's `:.2f`.
    return "null" if seconds is None else "%.2f" % (seconds * 1000)


def as_line_for_people(handled: Handled) -> bytes:
    who = f"{handled.key_id or '-'} {handled.consumer or '-'}"
    what = f"{handled.method or '-'} {_shown(handled.path) or '-'}"
    ended = "gone" if not handled.status else "cut" if handled.cut else "ok"
    came = f"{handled.status} {handled.code or ended}"
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
    # A line break in foreign text would start a new line.
    return "".join(c if c.isprintable() else "?" for c in line).encode() + b"\n"


@lru_cache(maxsize=1024)
def _quoted_path(path: str) -> str:
    return _quoted(_shown(path))


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json.dumps(text)


def _shown(path: str) -> str:
    plain = path
    for _ in range(MOST_ENCODED):
        if "%" not in plain or (decoded := unquote(plain)) == plain:
            break
        plain = decoded
    else:
        # It could go on like this thousands of times, and what it hides must not be shown.
        path = plain = path.partition("%")[0] + "%…"
    if KEY_PREFIX in plain:
        path = masked(plain)
    return path if len(path) <= LONGEST_PATH else path[: LONGEST_PATH - 1] + "…"


def _moment(at: float) -> str:
    second, thousandths = divmod(int(at * 1000), 1000)
    return _second(second) + _fraction(thousandths)


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    """Cached, because thousands of lines share one second and formatting a date is slow."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


@lru_cache(maxsize=1000)
def _fraction(thousandths: int) -> str:
    return f".{thousandths:03d}+00:00"
