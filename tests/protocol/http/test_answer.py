"""An agent's head that two readers could take differently is nobody's answer."""

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.answer import AnswerHead, read_answer
from gateway.protocol.http.request import Header

LENGTH = (b"Content-Length", b"5")
CHUNKED = (b"Transfer-Encoding", b"chunked")


def read(*headers: Header, status: int = 200, method: str = "GET") -> AnswerHead:
    return read_answer(status, headers, method=method, drop_limits=False)


def is_nonsense(*headers: Header, status: int = 200) -> bool:
    with pytest.raises(Denied) as refused:
        read(*headers, status=status)
    return refused.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize(
    "headers",
    [
        (LENGTH, CHUNKED),
        (CHUNKED, LENGTH),
        (LENGTH, LENGTH),
        (LENGTH, (b"content-length", b"6")),
        (CHUNKED, (b"transfer-encoding", b"chunked")),
    ],
)
def test_a_body_is_framed_once(headers: tuple[Header, ...]) -> None:
    assert is_nonsense(*headers)


@pytest.mark.parametrize("value", [b"", b"+5", b"-5", b"0x5", b"5 5", b"5,5", b"5_0", b"9" * 19])
def test_a_length_is_digits_alone(value: bytes) -> None:
    assert is_nonsense((b"Content-Length", value))


@pytest.mark.parametrize(
    "value", [b"", b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked"]
)
def test_no_coding_is_taken_but_chunks(value: bytes) -> None:
    assert is_nonsense((b"Transfer-Encoding", value))
    assert read((b"Transfer-Encoding", b"Chunked")).chunked


@pytest.mark.parametrize("byte", [*range(0x09), *range(0x0A, 0x20), 0x7F])
def test_no_control_byte_is_in_a_value(byte: int) -> None:
    assert is_nonsense((b"X-A", b"a%cb" % byte))
    assert read((b"X-A", b"a\tb \xff")).headers == [(b"X-A", b"a\tb \xff")]


@pytest.mark.parametrize("name", [b"", b"X A", b"X-A:", b"X(A)", b"X-\xe9", b"X-A\x00", b"X-A\t"])
def test_a_name_is_a_token(name: bytes) -> None:
    assert is_nonsense((name, b"a"))


@pytest.mark.parametrize("status", [0, 99, 100, 600, 1000])
def test_no_other_status_is_passed_on(status: int) -> None:
    assert is_nonsense(status=status)


def test_what_is_for_one_hop_and_what_is_named_so_is_dropped() -> None:
    named = (b"Connection", b"close, X-HOP"), (b"connection", b"x-other")
    sent = (b"X-Hop", b"1"), (b"x-other", b"1"), (b"Keep-Alive", b"1"), (b"X-Kept", b"1")
    assert read(*named, *sent).headers == [(b"X-Kept", b"1")]


@pytest.mark.parametrize(
    ("method", "status", "bodiless"),
    [("HEAD", 200, True), ("GET", 204, True), ("GET", 304, True), ("GET", 200, False)],
)
def test_some_answers_have_no_body_whatever_they_say(
    method: str, status: int, bodiless: bool
) -> None:
    assert read(LENGTH, method=method, status=status).bodiless is bodiless
