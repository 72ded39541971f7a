"""Trailers of an answer: their form is told from the bytes that were read last."""

import pytest

from gateway.protocol.http.trailers import are_malformed


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"hello\r\n000\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
        b"0\r\nX-A: b\r\nX-B:\r\nX-C:\tc\xff\r\n\r\n",
        b"0;ext=1\r\nX-A: b\r\n\r\n",
        b"0\r\n0: b\r\n0a: c\r\n\r\n",
        b"00\r\n0\r\nX-A: b\r\n\r\n",
        b"7\r\n\n0\r\nX \r\n\r\n0\r\nX-A: b\r\n\r\n",
        b"X-A: b\r\n\r\n",
        b"\r\n",
        b"\n",
        b"",
    ],
)
def test_well_formed_absent_or_not_to_be_told(end: bytes) -> None:
    assert not are_malformed(end)


@pytest.mark.parametrize(
    "trailers",
    [
        b"X-A: b\n\r\n",
        b"X-A: b\r\n\n",
        b"\n",
        b"X-A: b\r\n folded\r\n\r\n",
        b" X-A: b\r\n\r\n",
        b"X-A : b\r\n\r\n",
        b"X-A: b\0c\r\n\r\n",
        b"X-A: b\x01\r\n\r\n",
        b"X-A: b\x7f\r\n\r\n",
        b"X-A: b\rc\r\n\r\n",
        b"no colon\r\n\r\n",
        b": b\r\n\r\n",
        b"X(A): b\r\n\r\n",
        b"X-A: b\r\nX-B: c\n\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"5\r\nhello\r\n", b"3\r\n0\r\n\r\n"])
def test_malformed(before: bytes, trailers: bytes) -> None:
    assert are_malformed(before + b"0\r\n" + trailers)
