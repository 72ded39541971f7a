"""An error that nobody foresaw tells nobody anything."""

import asyncio

import aiohttp
import pytest

from gateway.domain.errors import Code
from gateway.domain.keys.key import compose
from gateway.proxy.exchange import Exchange
from tests.flows.refusals import check
from tests.flows.world import World


@pytest.mark.denial("internal")
async def test_a_bug_tells_nothing_but_the_request_id(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.policies = "canary"  # type: ignore[assignment]
    key = compose("live", "abcdefghijkl", "x" * 32)
    answer = await world.call(key, "/agents/echo/canary?q=canary", headers={"X-C": "canary"})
    check(answer, Code.INTERNAL)
    logged = "".join(capsys.readouterr())
    assert answer.headers["X-Request-Id"] in logged
    assert "canary" not in logged + answer.body.decode()


async def test_a_bug_in_telling_of_a_bug_leaves_no_caller_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its connection would count as busy for ever, and so many of them would be all there are."""

    def broken(*_: object) -> None:
        raise TypeError("canary")

    monkeypatch.setattr(Exchange, "refusal", broken)
    async with asyncio.timeout(10):
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await world.call(None)
        while world.gateways[0].data.connections:
            await asyncio.sleep(0.01)
    assert "canary" not in "".join(capfd.readouterr())
