"""Whatever strangers and operators write, a line of the access log is one JSON object."""

import json
import time
from datetime import datetime
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys.key import compose
from gateway.domain.traffic import Handled
from gateway.services.telemetry.access_lines import (
    LONGEST_PATH,
    as_line_for_people,
    as_line_of_json,
)

TEXT = st.text(st.characters(codec=None), max_size=40)
SECONDS = st.floats(0, 100_000)
HANDLED = st.builds(
    Handled,
    at=st.floats(0, 4e9),
    request_id=st.just("req_1"),
    method=st.sampled_from(["GET", ""]),
    path=TEXT,
    agent=st.sampled_from(["support", ""]),
    key_id=st.just("abcdefghijkl"),
    consumer=TEXT,
    status=st.integers(0, 599),
    code=st.sampled_from(["", "key_invalid"]),
    cut=st.booleans(),
    received=st.integers(0, 2**60),
    sent=st.integers(0, 2**60),
    admission=st.none() | SECONDS,
    first_byte=st.none() | SECONDS,
    total=SECONDS,
    shadow=st.sampled_from(["", "rate_limited"]),
)

HANDLED_ONCE = Handled(
    1.0, "req_1", "GET", "/", "", "", "", 401, "key_missing", False, 0, 0, None, None, 1.0
)


@given(HANDLED)
def test_a_line_says_in_json_what_was_handled(handled: Handled) -> None:
    line = as_line_of_json(handled)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    told = json.loads(line)
    at = datetime.fromisoformat(told.pop("ts")).timestamp()
    assert abs(at - handled.at) <= 0.0011
    for name, seconds in (
        ("admission_ms", handled.admission),
        ("first_byte_ms", handled.first_byte),
        ("total_ms", handled.total),
    ):
        milliseconds = told.pop(name)
        if seconds is None:
            assert milliseconds is None
        else:
            assert abs(milliseconds - seconds * 1000) <= 0.006
    if "%" in handled.path:
        told["path"] = handled.path
    assert told == {name: getattr(handled, name) for name in told}
    assert len(told) == (12 if handled.shadow else 11)


@given(HANDLED)
def test_a_line_for_people_is_one_line(handled: Handled) -> None:
    assert as_line_for_people(handled).count(b"\n") == 1


def test_a_line_for_people_calls_no_request_ok_whose_caller_left_before_an_answer() -> None:
    left = HANDLED_ONCE._replace(status=0, code="")
    assert " 0 gone " in as_line_for_people(left).decode()


@given(HANDLED, st.sampled_from(["{}", "%2561gk_live_{}", "/x/{}/y"]))
def test_no_line_holds_a_key(handled: Handled, where: str) -> None:
    key = compose("live", "abcdefghijkl", "S" * 32).text
    rest = key.removeprefix("agk_live_") if "%" in where else key
    spelled = handled._replace(path=where.format(rest))
    for line in (as_line_of_json(spelled), as_line_for_people(spelled)):
        assert b"S" * 32 not in line


def test_a_path_that_is_encoded_again_and_again_costs_a_stranger_more_than_the_gateway() -> None:
    """Decoded to its end, one of 8 KB took the event loop for tens of milliseconds."""
    key = compose("live", "abcdefghijkl", "S" * 32).text
    plain = HANDLED_ONCE._replace(path="/x/" + quote(key.replace("S", "%53"), safe=""))
    assert b"S" * 32 not in as_line_of_json(plain)
    began = time.process_time()
    for number in range(30):
        deep = f"/x/{number}%{'25' * (3500 + number)}61gk_{key[4:]}"
        line = as_line_of_json(plain._replace(path=deep))
        assert b"S" * 32 not in line
        assert json.loads(line)["path"].startswith(f"/x/{number}")
    assert time.process_time() - began < 0.2


def test_a_line_holds_so_much_of_a_path_and_no_more() -> None:
    long = HANDLED_ONCE._replace(path="/" + "x" * 8000)
    shown = json.loads(as_line_of_json(long))["path"]
    assert shown == "/" + "x" * (LONGEST_PATH - 2) + "…"
    assert shown in as_line_for_people(long).decode()
