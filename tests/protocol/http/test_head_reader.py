"""What a connection's earlier requests said changes nothing about how the next one is read."""

from collections.abc import Callable
from sys import getrefcount

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import Denied
from gateway.protocol.http.head_reader import HeadReader
from gateway.protocol.http.request import Header, RequestHead, read_head

KEY = b"Bearer agk_AAAAAAAAAAAA_secret"
Request = tuple[str, bytes, tuple[Header, ...], bool]
HOST = (b"Host", b"gateway")
LENGTHS: list[Header] = [
    (b"Content-Length", b"1"),
    (b"Content-Length", b"22"),
    (b"content-length", b"22"),
    (b"Content-Length", b"+1"),
]
LINES: list[Header] = [
    HOST,
    (b"Authorization", KEY),
    (b"Connection", b"x-hop"),
    (b"X-Hop", b"1"),
    (b"X-User-Id", b"u1"),
    (b"Transfer-Encoding", b"chunked"),
]
ODD: list[Header] = [
    (b"Host", b"other"),
    (b"X-Api-Key", b"agk_BBBBBBBBBBBB_secret"),
    (b"X-Hop", b"2"),
    (b"Accept", b"text/plain"),
    (b"X_User_Id", b"u2"),
]


@st.composite
def requests_of_a_connection(draw: st.DrawFn) -> list[Request]:
    """Requests that differ in little: most often in their length."""
    lines = draw(st.lists(st.sampled_from(LINES), min_size=2, unique=True))
    length_at = draw(st.none() | st.integers(0, len(lines)))
    requests = []
    for _ in range(draw(st.integers(3, 7))):
        headers = list(lines)
        if length_at is not None:
            headers.insert(length_at, draw(st.sampled_from(LENGTHS)))
        place = draw(st.integers(0, len(headers)))
        change = draw(st.sampled_from([None, None, None, "replaced", "cut"]))
        if change == "replaced":
            headers[place : place + 1] = [draw(st.sampled_from(ODD))]
        elif change == "cut":
            del headers[place:]
        method = draw(st.sampled_from(["POST", "POST", "GET", "get"]))
        target = draw(st.sampled_from([b"/agents/a/x", b"/agents/a/y", b"/agents/a/../b"]))
        http10 = not draw(st.integers(0, 3))
        requests.append((method, target, tuple(headers), http10))
    return requests


def outcome(read: Callable[..., RequestHead], request: Request) -> RequestHead | str:
    method, target, headers, http10 = request
    try:
        return read(method, target, headers, http10=http10)
    except Denied as denied:
        return f"{denied.code} {denied}"


def with_one_line(*lines: Header) -> list[Request]:
    """Requests that differ in nothing but one line."""
    return [("POST", b"/x", (HOST, one, (b"Accept", b"text/plain")), False) for one in lines]


FIVE, SIX, SEVEN = ((b"Content-Length", length) for length in (b"5", b"6", b"7"))


@settings(max_examples=400)
@example(with_one_line(FIVE, SIX, SEVEN, SEVEN))
@example(with_one_line(FIVE, FIVE, (b"X-Hop", b"5"), FIVE))
@example([("POST", b"/x", (length, HOST), False) for length in (FIVE, SIX, SEVEN)])
@example([("POST", b"/x", lines, False) for lines in ((HOST, FIVE), (HOST,), (HOST, FIVE))])
@given(requests_of_a_connection())
def test_a_head_is_read_as_if_it_were_the_first_of_its_connection(requests: list[Request]) -> None:
    reader = HeadReader()
    for request in requests:
        assert outcome(reader.read, request) == outcome(read_head, request)


def test_what_replaces_the_headers_of_one_request_is_not_in_the_next() -> None:
    reader = HeadReader()
    for _ in range(3):
        head = reader.read("GET", b"/x", (HOST, (b"Accept", b"text/plain")), http10=False)
        assert head.headers == [(b"Accept", b"text/plain")]
        head.headers = []


def test_of_long_headers_an_idle_connection_keeps_nothing() -> None:
    reader = HeadReader()
    for size, kept in ((2000, True), (5000, False)):
        value = b"x" * size
        before = getrefcount(value)
        for _ in range(3):
            reader.read("GET", b"/x", (HOST, (b"Accept", value)), http10=False)
        assert (getrefcount(value) > before) is kept
