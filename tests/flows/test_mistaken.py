"""Whoever sends what is no request learns what it looks like, and what to do about it."""

import pytest

from gateway.domain.errors import Code, Denied
from gateway.protocol.http.methods import FOREIGN
from gateway.protocol.http.request import read_head
from tests.flows.raw import exchange
from tests.flows.refusals import check
from tests.flows.world import World

PROXY_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x1f\x90"


@pytest.mark.parametrize(
    ("beginning", "told"),
    [
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\n", "Turn it off in the load balancer"),
        (PROXY_2, "Turn it off in the load balancer"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "This is TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "This is HTTP/2"),
        (b"nonsense\r\n\r\n", "malformed or ambiguous"),
        (b"get / HTTP/1.1\r\n\r\n", "written in capitals"),
    ],
)
async def test_another_protocol_is_called_by_its_name(
    world: World, beginning: bytes, told: str
) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await exchange(world.address, beginning + request)
    check(answer, Code.BAD_REQUEST)
    assert told in answer.json["error"]["message"]


@pytest.mark.parametrize("target", ["/agents/echo/你好", "/agents/echo/x?q=é", "/agents/echo/a b"])
async def test_a_url_with_raw_bytes_is_told_to_be_percent_encoded(
    world: World, target: str
) -> None:
    """So curl sends a query as it was typed; browsers and most libraries encode it."""
    answer = await exchange(world.address, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    check(answer, Code.BAD_REQUEST)
    assert "must be percent-encoded" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "method",
    [*sorted(FOREIGN), "ANNOUNCE", "BREW", "DESCRIBE", "Get", "PRI", "SETUP", "get", "propfind"],
)
async def test_what_no_method_is_told_agrees_with_what_policy_explain_says_of_it(
    world: World, method: str
) -> None:
    with pytest.raises(Denied) as explained:
        read_head(method, b"/agents/echo/x", ())
    target = b"a:80" if method == "CONNECT" else b"/agents/echo/x"
    line = b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method.encode(), target)
    check(await exchange(world.address, line), explained.value.code)
