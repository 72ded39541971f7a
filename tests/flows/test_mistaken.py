"""Whoever speaks another protocol to the listener learns which, and what to do about it."""

import pytest

from gateway.domain.errors import Code
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
    ],
)
async def test_another_protocol_is_called_by_its_name(
    world: World, beginning: bytes, told: str
) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = await exchange(world.address, beginning + request)
    check(answer, Code.BAD_REQUEST)
    assert told in answer.json["error"]["message"]
