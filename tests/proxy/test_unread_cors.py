"""Whatever came of a request that is refused: it tells whose page it is, or nothing."""

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.policies.cors import Cors
from gateway.domain.policies.snapshot import Agent, Policies, Upstream
from gateway.protocol.http.request import read_partial_head
from gateway.proxy.unread_cors import cors_of_unread

PAGE = b"https://app.example.com"
CORS = Cors(frozenset({PAGE}))
ECHO = Agent("echo", (Upstream("http", "127.0.0.1", 1),), cors=CORS, hosts=("echo.test",))
POLICIES = Policies(agents={"echo": ECHO})
LINE = (b"GET ", b"/agents/echo/", b"/tools/echo/mcp", b"?", b"//", b"\xff", b" HTTP/1.1")
FIELDS = (b"\r\n", b"\n", b": ", b"\r\n\r\n", b"Origin: " + PAGE, b"\r\nHost: echo.test\r\n")
PIECES = st.lists(st.sampled_from(LINE + FIELDS) | st.binary(max_size=6), max_size=12)


@given(PIECES.map(b"".join))
@example(b"GET /agents/echo/ HTTP/1.1\r\nOrigin: " + PAGE)
@example(b"GET \r\nHost: echo.test\r\nOrigin: " + PAGE + b"\r\n\r\nOrigin: " + PAGE)
@example(b"\xff /agents/\xff HTTP/1.1\r\nOrigin: " + PAGE)
@example(b"GET /agents/echo/ HTTP/1.1\r\nOrigin: " + PAGE + b"\r\nOrigin: " + PAGE)
@example(b"Origin: " + PAGE + b"\r\nHost: echo.test\r\nOrigin: " + PAGE)
@example(b"GET \r\nHost: echo.test\r\nx: Origin: " + PAGE + b"\r\nOrigin: " + PAGE)
def test_what_came_never_fails_and_names_no_page_but_a_listed_one(received: bytes) -> None:
    fields = dict(cors_of_unread(*read_partial_head(received), POLICIES))
    assert fields.get("Access-Control-Allow-Origin", PAGE.decode()) == PAGE.decode()
    _, *lines = received.lstrip(b"\r\n").partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert not fields or [line[:7] for line in lines].count(b"Origin:") == 1
