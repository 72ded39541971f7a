"""An error that nobody foresaw tells nobody anything."""

import asyncio

import aiohttp
import pytest

from gateway.domain.errors import Code, Denied
from gateway.domain.keys.key import compose
from gateway.proxy.exchange import Exchange
from gateway.proxy.streaming import AnswerStream
from tests.flows.agents import agent_that, says
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


@pytest.mark.parametrize("late", [TypeError("canary"), Denied(Code.UPSTREAM_TIMEOUT)])
async def test_what_goes_wrong_once_an_answer_has_begun_cuts_it(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    late: Exception,
) -> None:
    """Whatever would be written then, its reader would take for a part of the answer."""

    async def broken(*_: object) -> None:
        raise late

    monkeypatch.setattr(AnswerStream, "run", broken)

    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    key = await world.issue()
    async with asyncio.timeout(10), agent_that(says(begun, then_close=False)) as upstream:
        world.serve(world.agent(upstream=upstream))
        headers = {"Authorization": f"Bearer {key.text}"}
        async with world.session.get(f"{world.url}/agents/echo/x", headers=headers) as answer:
            assert answer.status == 200
            told = bytearray()
            with pytest.raises(aiohttp.ClientError):
                while True:
                    told += await answer.content.readany() or pytest.fail("it looks whole")
        assert told in (b"", b"hello")
        while world.gateways[0].data.connections:
            await asyncio.sleep(0.01)
    assert "canary" not in "".join(capfd.readouterr())


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
