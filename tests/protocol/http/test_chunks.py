"""The end of a chunked body is found wherever the reads are cut, and trailers never overlooked."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.http.chunks import ChunkScanner

BODY = b"5\r\nhello\r\n1f;a=b\r\n" + b"0\r\n\r\n" * 6 + b"x\r\n00\r\n"


def verdict(*reads: bytes) -> bool | None:
    scanner = ChunkScanner()
    for data in reads:
        clean = scanner.feed(data)
        if clean is not None:
            return clean
    return None


def test_a_body_without_trailers_ends_clean() -> None:
    assert verdict(BODY + b"\r\n") is True
    assert verdict(b"0\r\n\r\n") is True
    assert verdict(BODY) is None


@pytest.mark.parametrize(
    "end", [b"X-A: b\r\n\r\n", b"X-A: 0\r\n\r\n", b"\n", b"\r\nGET / HTTP/1.1\r\n", b"\r\n\r\n"]
)
def test_whatever_else_follows_the_last_chunk_is_not_clean(end: bytes) -> None:
    assert verdict(BODY + end) is False


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("size", [b"5" * 200, b"0" * 16 + b"5", b"0" * 16 + b"5;x=y"])
def test_a_size_with_too_many_digits_is_refused(size: bytes, apart: bool) -> None:
    scanner = ChunkScanner()
    with pytest.raises(ValueError, match="digits"):
        for piece in (size[:10], size[10:]) if apart else (size + b"\r\nhello\r\n0\r\n\r\n",):
            scanner.feed(piece)


@pytest.mark.parametrize("after", [b"", b" \t", b" ;x=y"])
def test_a_size_may_have_sixteen_digits(after: bytes) -> None:
    """As all 64 bits of it take."""
    assert verdict(b"0" * 15 + b"5" + after + b"\r\nhello\r\n0\r\n\r\n") is True


def test_an_extension_may_be_longer_than_a_number() -> None:
    assert verdict(b"5;" + b"x" * 60 + b"\r\nhello\r\n0\r\n\r\n") is True


@pytest.mark.parametrize("size", [b"x", b"", b"-1"])
def test_a_size_that_is_none_is_not_clean(size: bytes) -> None:
    assert verdict(size + b"\r\nhello\r\n0\r\n\r\n") in (False, None)


chunk = st.binary(min_size=1, max_size=40).map(lambda d: b"%x\r\n%b\r\n" % (len(d), d))
body = st.lists(chunk, max_size=6).map(b"".join)
trailers = st.sampled_from([b"", b"X-A: b\r\n", b"0: 0\r\n"])


@given(body=body, trailers=trailers, cuts=st.sets(st.integers(1, 300)))
def test_where_the_reads_are_cut_makes_no_difference(
    body: bytes, trailers: bytes, cuts: set[int]
) -> None:
    data = body + b"0\r\n" + trailers + b"\r\n"
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assert verdict(*(data[a:b] for a, b in pairwise(at))) is (not trailers)
