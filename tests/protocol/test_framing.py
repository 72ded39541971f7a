"""What the bytes of a request show, and the parser does not tell."""

import pytest

from gateway.protocol.framing import has_single_blanks, is_one_request

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
