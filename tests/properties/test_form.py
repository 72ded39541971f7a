"""Whatever a form holds beside the field that is set, it keeps; and it reads as it was written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Denied
from gateway.protocol.http.form import field, with_form_fields

BOUNDARY = b"the-boundary-of-this-form"
NAMES = st.sampled_from(["file", "language", "prompt"])
VALUES = st.binary(max_size=40)


def written(parts: list[tuple[str, bytes]]) -> bytes:
    head = b'Content-Disposition: form-data; name="%b"; filename="model"'
    body = b"".join(
        b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY, head % name.encode(), value)
        for name, value in parts
    )
    return body + b"--" + BOUNDARY + b"--\r\n"


@given(parts=st.lists(st.tuples(NAMES, VALUES), max_size=4), model=st.text("abc-.", max_size=9))
def test_a_field_that_is_set_is_read_and_the_rest_stays_byte_for_byte(
    parts: list[tuple[str, bytes]], model: str
) -> None:
    start = written([*parts, ("model", b"another")])
    made = with_form_fields(start, BOUNDARY, [("model", model)])
    assert field(made, BOUNDARY, "model") == model
    assert written(parts).removesuffix(b"--" + BOUNDARY + b"--\r\n") in made
    assert made.count(b'; name="model"') == 1


@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    for text in (body, b"--" + BOUNDARY + body, written([("file", body)])):
        try:
            field(text, BOUNDARY, "model")
        except Denied:
            continue


Y = b'Content-Disposition: form-data; name="y"'


@pytest.mark.parametrize(
    "head",
    [
        Y + b'\r\nContent-Disposition: attachment; name="model"',
        b'Content-Disposition: attachment; name="model"\r\n' + Y,
        Y + b'\r\n ; name="model"',
        b'X-A: b\r\n Content-Disposition: form-data; name="model"\r\n' + Y,
        b' Content-Disposition: form-data; name="model"\r\n' + Y,
        b'Content-Disposition : form-data; name="model"\r\n' + Y,
        Y + b"\r\nno line of a head",
        Y + b"\r\nX: \x00",
        b'Content-Disposition: attachment; name="y"',
        b"X-A: b",
    ],
)
def test_a_part_whose_name_two_readers_could_tell_differently_is_refused(head: bytes) -> None:
    """Starlette's took the second of two names, Werkzeug's those of lines that are none."""
    part = b"--%b\r\n%b\r\n\r\ndear\r\n" % (BOUNDARY, head)
    with pytest.raises(Denied):
        field(part + written([("model", b"cheap")]), BOUNDARY, "model")


@pytest.mark.parametrize("value", [b"\xff", b"x\n--" + BOUNDARY, b"x--" + BOUNDARY + b"--"])
def test_a_value_that_is_no_text_or_holds_a_boundary_is_refused(value: bytes) -> None:
    with pytest.raises(Denied):
        field(written([("model", value)]), BOUNDARY, "model")


def test_a_form_has_a_thousand_parts_at_most() -> None:
    parts = [("file", b"")] * 999
    assert field(written([*parts, ("model", b"m")]), BOUNDARY, "model") == "m"
    with pytest.raises(Denied, match="at most 1000 parts"):
        field(written([*parts, ("file", b""), ("model", b"m")]), BOUNDARY, "model")


@pytest.mark.parametrize(
    "inside",
    [
        written([("file", b"")] * 100_000).removesuffix(b"--" + BOUNDARY + b"--\r\n"),
        b"--" + BOUNDARY + b"\r\n" + b"X: y\r\n" * 1_500_000 + b"\r\n\r\n",
    ],
    ids=["parts", "lines of a head"],
)
def test_a_form_of_very_many_parts_is_refused_at_once(inside: bytes) -> None:
    """32 MiB of them took nearly five seconds of everybody's."""
    began = time.process_time()
    with pytest.raises(Denied):
        field(inside + written([("model", b"m")]), BOUNDARY, "model")
    assert time.process_time() - began < 0.2
