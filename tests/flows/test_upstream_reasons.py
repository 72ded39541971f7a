"""Callers are told that an agent cannot be reached, operators why, in words that lead on."""

import ssl

import pytest
import trustme
from structlog.testing import capture_logs

from gateway.domain.errors import Code
from gateway.domain.policies.snapshot import Upstream
from gateway.proxy.upstream.connection import UpstreamLostError
from gateway.proxy.upstream.reasons import reason_of
from tests.flows.agents import agent_that, says
from tests.flows.refusals import check
from tests.flows.upstreams import agent_app, at, named, secure, server_side
from tests.flows.world import World


async def reason(world: World, upstream: Upstream) -> str:
    world.serve(world.agent(upstream=upstream))
    with capture_logs() as logs:
        check(await world.call(await world.issue()), Code.UPSTREAM_UNREACHABLE)
    (told,) = [entry for entry in logs if entry["event"] == "upstream_unreachable"]
    assert told["upstream"] == str(upstream)
    return str(told["reason"])


async def test_tls_to_a_port_where_none_is_spoken(world: World) -> None:
    async with agent_app(named("plain")) as port:
        assert await reason(world, secure(port)) == "it speaks no TLS: is its URL one of http://?"


async def test_an_agent_that_hangs_up(world: World) -> None:
    async with agent_that(says(b"")) as upstream:
        told = await reason(world, upstream)
    assert told == "It ended the connection and answered nothing"


def test_a_certificate_that_is_asked_for_and_not_there() -> None:
    """With TLS 1.3 that is heard after the handshake, if no reset of the request comes first."""
    lost = UpstreamLostError("It ended the connection and answered nothing.")
    alert = lost.__cause__ = ssl.SSLError(1, "tlsv13 alert certificate required")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    told = reason_of(lost)
    assert told.endswith("nothing: it asks for a client certificate: give it 'cert' and 'key'")


async def test_a_certificate_that_is_not_believed(world: World) -> None:
    context = server_side(trustme.CA(), "localhost")
    async with agent_app(named("secret"), ssl_context=context) as port:
        told = await reason(world, secure(port))
    assert told == "its certificate is not believed (unable to get local issuer certificate)"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-proxy.invalid"])
async def test_a_proxy_that_is_away(world: World, unused_tcp_port: int, host: str) -> None:
    told = await reason(world, at(1, proxy=(host, unused_tcp_port)))
    assert told.startswith("the proxy cannot be reached: ")
