"""What is read strictly is written anew as it was meant."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import strict_json
from gateway.protocol.strict_json import (
    LEVELS,
    MOST_VALUES,
    RepeatedNameError,
    TooManyValuesError,
    encode,
    read,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_what_was_read_is_written_as_the_same_value(value: object) -> None:
    found = strict_json.read(json.dumps(value))
    assert strict_json.read(strict_json.encode(found)) == found == value


def test_text_is_written_in_utf_8_and_no_longer_than_it_came() -> None:
    body = '{"content":"你好,世界"}'.encode()
    assert strict_json.encode(strict_json.read(body)) == body


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "\\u0061": 2}}]'])
def test_a_name_that_stands_twice_is_refused_at_every_depth(text: str) -> None:
    with pytest.raises(RepeatedNameError):
        strict_json.read(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_can_be_read_can_be_written_however_deep_it_is_and_wherever_it_is_done(
    opening: str, closing: str
) -> None:
    def further_in(calls: int, found: object) -> bytes:
        return further_in(calls - 1, found) if calls else strict_json.encode(found)

    read = []
    for levels in range(1, 1200):
        try:
            found = strict_json.read(opening * levels + "1" + closing * levels)
        except ValueError:
            continue
        read.append(levels)
        further_in(100, found)
    assert read == [*range(1, LEVELS + 1)]


def test_what_stands_in_a_text_has_no_levels() -> None:
    text = json.dumps({"code": "[[{{" * 1000, 'quoted \\" [': '\\"[' * 1000, "\\": ["\\\\", "["]})
    assert strict_json.read(text) == json.loads(text)
    assert strict_json.read(json.dumps("[" * 1000)) == "[" * 1000
    many = json.dumps([{"a": []}] * 1000)
    assert strict_json.read(many) == json.loads(many)


MANY = {
    "lists": b"[]," * MOST_VALUES,
    "objects": b'{"a":1},' * MOST_VALUES,
    "texts": b'"ab",' * (MOST_VALUES + 1),
    "nested": b"[" * (MOST_VALUES + 1),
    "texts that hold marks": b'"[,\\"{",' * (MOST_VALUES + 1),
}


@pytest.mark.parametrize("what", MANY)
def test_what_would_be_large_once_it_is_read_is_not_read(what: str) -> None:
    """Four megabytes of empty lists are a hundred in memory, and half a second for everybody."""
    began = time.process_time()
    with pytest.raises(TooManyValuesError):
        read(b'{"x":[' + MANY[what] + b"1]}")
    assert time.process_time() - began < 0.25


def test_marks_within_a_text_are_no_values() -> None:
    text = '[{,"' * MOST_VALUES
    assert read(encode({"x": [text]})) == {"x": [text]}
    assert read(b"[" + b"1," * (MOST_VALUES - 2) + b"1]")[-1] == 1


@pytest.mark.parametrize("end", ["", "\\", '"', '\\"', '","'])
def test_a_text_without_an_end_is_looked_at_once(end: str) -> None:
    body = f'["{end}'.encode() + b'\\"[' * MOST_VALUES
    began = time.process_time()
    with pytest.raises(ValueError):
        read(body)
    assert time.process_time() - began < 0.5
