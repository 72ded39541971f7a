"""What the bytes of a request show, and the parser does not tell."""

from typing import NamedTuple

import pytest
from aiohttp.http import HttpVersion, HttpVersion11

from gateway.protocol.http.framing import Framing, has_single_blanks, is_one_request

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nX-A: b  c\r\n\r\n"


@pytest.mark.parametrize(
    ("line", "single"),
    [
        (b"GET /x HTTP/1.1", True),
        (b"GET  /x HTTP/1.1", False),
        (b"GET /x  HTTP/1.1", False),
        (b"GET /x HTTP/1.1 ", False),
        (b"GET /x", False),
    ],
)
def test_a_request_line_has_two_blanks(line: bytes, single: bool) -> None:
    assert has_single_blanks(line + b"\r\nX-A: b  c\r\n\r\n") is single


def test_nothing_may_stand_after_one_request() -> None:
    assert is_one_request(HEAD, None)
    assert is_one_request(HEAD + b"hello", "5")
    assert not is_one_request(HEAD + b"hello", None)
    assert not is_one_request(HEAD + b"hell", "5")
    assert not is_one_request(HEAD[:-1], None)
    assert not is_one_request(HEAD, "0" * 5000), "int() raises for so many digits"


class Head(NamedTuple):
    """As the parser tells it."""

    method: str = "POST"
    path: str = "/x"
    version: HttpVersion = HttpVersion11
    chunked: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012 (never written to)


def test_after_a_request_that_ends_with_what_was_received_nothing_is_held() -> None:
    framing = Framing()
    assert framing.head(Head(), HEAD, ended=True) == HEAD
    assert not framing.more_held


@pytest.mark.parametrize(
    ("received", "ended"), [(HEAD + b"GET /y HTTP/1.1\r\n", True), (HEAD, False)]
)
def test_what_follows_may_be_held_by_the_parser(received: bytes, ended: bool) -> None:
    framing = Framing()
    framing.head(Head(), received, ended=ended)
    assert framing.more_held


def test_a_head_in_parts_is_seen_whole() -> None:
    framing = Framing()
    framing.part(HEAD[:10])
    assert framing.head_size == 10
    assert framing.head(Head(), HEAD[10:], ended=True) == HEAD
    framing.next()
    assert framing.head_size == 0


@pytest.mark.parametrize("before", [b"", b"\r\n\r\n"])
def test_an_error_is_in_the_headers_once_the_request_line_has_ended(before: bytes) -> None:
    framing = Framing()
    assert not framing.is_in_headers(before + b"GET /xx", 100)
    assert framing.is_in_headers(before + b"GET /x HTTP/1.1\r\nX-A: b", 100)
    assert not framing.is_in_headers(before + b"GET /" + b"x" * 100 + b"\r\nX-A: b", 100)
    framing.part(before + b"GET /x")
    assert not framing.is_in_headers(b"yz", 100)
    framing.part(b" HTTP/1.1\r\nX-A: ")
    assert framing.is_in_headers(b"b", 100)
    framing.next()
    assert not framing.is_in_headers(b"GET /x", 100)


def test_what_does_not_begin_with_its_own_line_is_judged_by_nothing() -> None:
    framing = Framing()
    framing.head(Head(), HEAD + b"POST  /x HT", ended=True)
    rest = b"TP/1.1\r\nHost: a\r\n\r\n"
    assert framing.head(Head(), rest, ended=True) == rest
    assert framing.more_held, "the end of another request may stand in what came"


def test_a_line_with_two_blanks_is_told() -> None:
    assert Framing().head(Head(), HEAD.replace(b"/x ", b"/x  "), ended=True) is None


@pytest.mark.parametrize(
    ("body", "clean"),
    [(b"5\r\nhello\r\n0\r\n\r\n", True), (b"0\r\nX-A: b\r\n\r\n", False), (b"5\r\nhe", None)],
)
def test_the_end_of_a_chunked_body_is_looked_for(body: bytes, clean: bool | None) -> None:
    framing, head = Framing(), Head(chunked=True)
    received = framing.head(head, HEAD + body, ended=clean is not None)
    assert received is not None
    assert framing.scan(received, head) is clean
    assert framing.in_body is (clean is None)


@pytest.mark.parametrize(
    ("length", "pieces", "clean"),
    [
        (None, [b""], True),
        (None, [b"h"], False),
        ("5", [b"hello"], True),
        ("5", [b"", b"he", b"llo"], True),
        ("5", [b"he", b"llo!"], False),
        ("5", [b"he"], None),
        ("0" * 5000, [b""], False),
    ],
)
def test_the_end_of_a_body_with_a_length_is_looked_for(
    length: str | None, pieces: list[bytes], clean: bool | None
) -> None:
    framing = Framing()
    head = Head(headers={} if length is None else {"Content-Length": length})
    found = framing.scan(HEAD + pieces[0], head)
    for piece in pieces[1:]:
        found = framing.scan(piece)
    assert found is clean


def test_a_chunked_body_whose_beginning_is_not_known_is_not_clean() -> None:
    framing, head = Framing(), Head(chunked=True)
    framing.afresh = False
    assert framing.scan(HEAD + b"0\r\n\r\n", head) is False
